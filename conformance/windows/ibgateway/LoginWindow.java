package ibgateway;

import java.awt.GridLayout;
import java.awt.event.ActionListener;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import javax.swing.ButtonGroup;
import javax.swing.JButton;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JPanel;
import javax.swing.JPasswordField;
import javax.swing.JTextField;
import javax.swing.JToggleButton;

/** The login window: API type, trading mode, user name, password and the button. */
final class LoginWindow {
    private final BlockingQueue<Boolean> logins = new LinkedBlockingQueue<>();
    private JFrame frame;

    void open() {
        JToggleButton fix = new JToggleButton("FIX CTCI");
        JToggleButton api = new JToggleButton("IB API", true);
        JToggleButton live = new JToggleButton("Live Trading", true);
        JToggleButton paper = new JToggleButton("Paper Trading");
        JButton logIn = new JButton("Log In");
        group(fix, api);
        group(live, paper);
        ActionListener rename = event -> logIn.setText(paper.isSelected() ? "Paper Log In" : "Log In");
        live.addActionListener(rename);
        paper.addActionListener(rename);
        logIn.addActionListener(event -> logins.add(true));

        JPanel panel = new JPanel(new GridLayout(0, 2));
        panel.add(new JLabel("API Type"));
        panel.add(new JLabel(""));
        panel.add(fix);
        panel.add(api);
        panel.add(new JLabel("Trading Mode"));
        panel.add(new JLabel(""));
        panel.add(live);
        panel.add(paper);
        addField(panel, "Username", new JTextField(12));
        addField(panel, "Password", new JPasswordField(12));
        panel.add(new JLabel(""));
        panel.add(logIn);
        frame = new JFrame("IBKR Gateway");
        frame.add(panel);
        Swing.show(frame, 100, 100);
    }

    /** Add a field that is found by its accessible name; no other part of the window has that name. */
    private static void addField(JPanel panel, String name, JTextField field) {
        field.getAccessibleContext().setAccessibleName(name);
        panel.add(new JLabel(name + ":"));
        panel.add(field);
    }

    private static void group(JToggleButton... buttons) {
        ButtonGroup group = new ButtonGroup();
        for (JToggleButton button : buttons) {
            group.add(button);
        }
    }

    void awaitLogin() throws InterruptedException {
        logins.take();
    }

    void close() {
        frame.dispose();
    }

    JFrame frame() {
        return frame;
    }
}
