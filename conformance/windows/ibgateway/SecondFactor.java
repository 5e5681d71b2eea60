package ibgateway;

import java.awt.event.ActionListener;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Consumer;
import java.util.function.Function;
import javax.swing.JButton;
import javax.swing.JDialog;
import javax.swing.JFrame;
import javax.swing.JLabel;
import javax.swing.JList;
import javax.swing.JTextArea;
import javax.swing.JTextField;
import javax.swing.SwingUtilities;

/** The dialogs for the second factor: an approval in the app, a list of devices, a code. */
final class SecondFactor {
    static final String TITLE = "Second Factor Authentication";

    private JDialog push;

    void openPush(JFrame owner) {
        push = new JDialog(owner, TITLE, false);
        fillWithPush(push);
        Swing.show(push, 150, 200);
    }

    private static void fillWithPush(JDialog dialog) {
        JButton cancel = new JButton("Cancel");
        cancel.addActionListener(event -> dialog.dispose());
        Swing.fill(
                dialog.getContentPane(),
                new JLabel("IB Key Seamless Authentication"),
                new JLabel("A notification was sent to your device. Approve it in IBKR Mobile."),
                cancel);
    }

    void closePush() {
        push.dispose();
    }

    /**
     * Show the list of devices until OK is pressed. {@code inPlace}: the same dialog then waits for the approval;
     * otherwise it closes.
     */
    void askForDevice(JFrame owner, List<String> names, boolean inPlace) throws InterruptedException {
        CountDownLatch chosen = new CountDownLatch(1);
        Swing.run(() -> {
            JDialog dialog = new JDialog(owner, TITLE, false);
            JList<String> devices = new JList<>(names.toArray(new String[0]));
            JButton ok = new JButton("OK");
            ok.addActionListener(event -> {
                if (inPlace) {
                    dialog.getContentPane().removeAll();
                    fillWithPush(dialog);
                    dialog.pack();
                    push = dialog;
                } else {
                    dialog.dispose();
                }
                System.out.println("stand-in: chosen device: " + devices.getSelectedValue());
                chosen.countDown();
            });
            Swing.fill(dialog.getContentPane(), new JTextArea("Select second factor device"), devices, ok);
            Swing.show(dialog, 300, 250);
        });
        chosen.await();
    }

    /** Show the field for a code until OK or Enter is pressed, then print the code to the standard output. */
    void askForCode(JFrame owner, boolean modal) throws InterruptedException {
        CountDownLatch entered = new CountDownLatch(1);
        openCodeField(owner, modal, dialog -> code -> {
            dialog.dispose();
            System.out.println("stand-in: entered code: " + code);
            entered.countDown();
        });
        entered.await();
    }

    /**
     * Show the field for a code until the right one is entered. The servers' clock is {@code ahead} seconds ahead of
     * this machine's. After a wrong code the field is empty again, or with {@code anew} in a new dialog.
     */
    void awaitRightCode(JFrame owner, boolean modal, Totp totp, long ahead, boolean anew) throws InterruptedException {
        BlockingQueue<String> codes = new LinkedBlockingQueue<>();
        String outcome = "";
        while (!outcome.equals("right")) {
            if (outcome.isEmpty() || anew) {
                openCodeField(owner, modal, dialog -> code -> {
                    if (anew || totp.accepts(code, now() + ahead)) {
                        dialog.dispose();
                    }
                    codes.add(code);
                });
            }
            String code = codes.take();
            long now = now();
            outcome = totp.accepts(code, now + ahead) ? "right" : totp.accepts(code, now) ? "expired" : "wrong";
            System.out.println("stand-in: the code was " + outcome);
        }
    }

    private static long now() {
        return System.currentTimeMillis() / 1000;
    }

    private static void openCodeField(
            JFrame owner, boolean modal, Function<JDialog, Consumer<String>> onEntered) {
        SwingUtilities.invokeLater(() -> {
            JDialog dialog = new JDialog(owner, TITLE, modal);
            JTextField code = new JTextField(8);
            JButton ok = new JButton("OK");
            Consumer<String> entered = onEntered.apply(dialog);
            ActionListener enter = event -> {
                String text = code.getText();
                code.setText("");
                entered.accept(text);
            };
            ok.addActionListener(enter);
            dialog.getRootPane().setDefaultButton(ok);
            Swing.fill(dialog.getContentPane(), new JLabel("Enter Mobile Authenticator app code"), code, ok);
            Swing.show(dialog, 300, 250);
        });
    }
}
