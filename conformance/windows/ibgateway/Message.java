package ibgateway;

import java.awt.Container;
import java.awt.Window;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import javax.swing.JButton;
import javax.swing.JComponent;
import javax.swing.JDialog;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JPanel;
import javax.swing.JTextArea;

/** A window with a text and buttons; each button closes it. */
final class Message {
    /** How the text is shown: the controllers search by the type of the window and of the component. */
    enum Kind {
        LABEL,
        TEXT_AREA,
        FRAME
    }

    private final BlockingQueue<String> answers = new LinkedBlockingQueue<>();
    private final String title;
    private final String text;
    private final List<String> buttons;
    private final Kind kind;
    private final JFrame owner;
    private Window window;

    /** An empty title is none at all. */
    Message(JFrame owner, String title, String text, List<String> buttons, Kind kind) {
        this.owner = owner;
        this.title = title.isEmpty() ? null : title;
        this.text = text;
        this.buttons = buttons;
        this.kind = kind;
    }

    void open() {
        if (kind == Kind.FRAME) {
            JFrame frame = new JFrame(title);
            fill(frame.getContentPane());
            window = frame;
        } else {
            JDialog dialog = new JDialog(owner, title, false);
            fill(dialog.getContentPane());
            window = dialog;
        }
        Swing.show(window, 150, 200);
    }

    /** Open it from any thread. */
    void openNow() {
        Swing.run(this::open);
    }

    private void fill(Container content) {
        JComponent shown = kind == Kind.TEXT_AREA ? new JTextArea(text) : new JLabel(text);
        JPanel row = new JPanel();
        for (String name : buttons) {
            JButton button = new JButton(name);
            button.addActionListener(event -> answer(name));
            row.add(button);
        }
        Swing.fill(content, new JPanel(), shown, row);
    }

    private void answer(String button) {
        close();
        answers.add(button);
    }

    String awaitAnswer() throws InterruptedException {
        return answers.take();
    }

    void close() {
        window.dispose();
    }
}
