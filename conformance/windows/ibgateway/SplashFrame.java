package ibgateway;

import javax.swing.JFrame;

/** The small frame that shows how far a connection or a login is. */
final class SplashFrame {
    private JFrame frame;

    void open(String title) {
        JFrame before = frame;
        frame = new JFrame(title);
        frame.setSize(300, 80);
        frame.setLocation(200, 300);
        frame.setVisible(true);
        if (before != null) {
            before.dispose();
        }
    }

    void retitle(String title) {
        frame.setTitle(title);
    }

    void close() {
        frame.dispose();
        frame = null;
    }
}
