package ibgateway;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import javax.swing.JFrame;

/**
 * Carries out the steps of a script, one after the other.
 *
 * <pre>
 * pause SECONDS                      wait
 * idle                               wait until the process is ended
 * login-window                       open the login window
 * await-login                        wait until Log In is pressed
 * close-login                        close the login window
 * main-window [without-settings]     open the main window; its settings menu is disabled
 * enable-menu                        enable the settings menu
 * configuration without-read-only    leave the Read-Only box out of the configuration dialog
 * splash TITLE                       open a splash frame and close the one before
 * retitle TITLE                      change the splash frame's title
 * close-splash                       close the splash frame
 * message TITLE | TEXT | BUTTON,...  open a dialog with a label
 * text TITLE | TEXT | BUTTON,...     open a dialog with a text area
 * frame TITLE | TEXT | BUTTON,...    open a frame with a label
 * await-answer                       wait until a button of the last of these is pressed
 * close-message                      close the last of these
 * push                               open the second factor's dialog for an approval in the app
 * close-push                         close it
 * devices NAME,... | new or same     open the list of devices and wait for the choice; afterwards the push shows
 *                                    in a new dialog (step push) or in the same one (closed by close-push)
 * code modal or modeless             open the dialog for a code and wait until one is entered
 * totp modal or modeless | SECRET | AHEAD | same or new
 *                                    the same until the right code is entered; the secret is in hexadecimal digits, the
 *                                    servers' clock so many seconds ahead; a wrong code is answered by an empty field,
 *                                    in the same dialog or in a new one
 * cover AFTER | X,Y,WIDTH,HEIGHT | SECONDS
 *                                    so many seconds later, cover a part of the screen by a window for a time
 * await-restart-time                 wait until the restart time is set to one of the next two minutes
 * keep-session                       write the autorestart file
 * read-session                       delete the autorestart file, as the gateway does after reading it
 * restart                            show that a restart is in progress, write the autorestart file, exit 0
 * shutdown                           show the shutdown's progress, exit 0
 * exit CODE                          exit
 * crash CODE                         end at once, without the shutdown hooks
 * </pre>
 *
 * The button Exit Application and the menu File, Close shut the gateway down by themselves.
 */
final class Player {
    /** Exit status if a script asks for something unknown. */
    static final int BROKEN_SCRIPT = 99;

    private static final String SESSION_FOLDER = "abcdef";

    private final Path settings;
    private final Shutdown shutdown = new Shutdown();
    private final LoginWindow login = new LoginWindow();
    private final MainWindow main = new MainWindow(shutdown);
    private final SplashFrame splash = new SplashFrame();
    private final SecondFactor secondFactor = new SecondFactor();
    private Message message;

    Player(Path settings) {
        this.settings = settings;
    }

    void carryOut(Step step) throws Exception {
        switch (step.verb()) {
            case "pause" -> Swing.pause(step.seconds());
            case "idle" -> new CountDownLatch(1).await();
            case "login-window" -> Swing.run(login::open);
            case "await-login" -> login.awaitLogin();
            case "close-login" -> Swing.run(login::close);
            case "main-window" -> Swing.run(() -> main.open(!step.argument(0).equals("without-settings")));
            case "enable-menu" -> Swing.run(main::enableSettings);
            case "configuration" -> main.leaveOutReadOnly();
            case "splash" -> Swing.run(() -> splash.open(step.argument(0)));
            case "retitle" -> Swing.run(() -> splash.retitle(step.argument(0)));
            case "close-splash" -> Swing.run(splash::close);
            case "message" -> show(step, Message.Kind.LABEL);
            case "text" -> show(step, Message.Kind.TEXT_AREA);
            case "frame" -> show(step, Message.Kind.FRAME);
            case "await-answer" -> awaitAnswer();
            case "close-message" -> Swing.run(message::close);
            case "push" -> Swing.run(() -> secondFactor.openPush(owner()));
            case "close-push" -> Swing.run(secondFactor::closePush);
            case "devices" -> secondFactor.askForDevice(owner(), names(step, 0), step.argument(1).equals("same"));
            case "code" -> secondFactor.askForCode(owner(), step.argument(0).equals("modal"));
            case "totp" -> awaitRightCode(step);
            case "cover" -> cover(step);
            case "await-restart-time" -> main.awaitRestartTime();
            case "keep-session" -> keepSession();
            case "read-session" -> Files.deleteIfExists(sessionFile());
            case "restart" -> restart();
            case "shutdown" -> shutdown.run(owner());
            case "exit" -> System.exit((int) step.seconds());
            case "crash" -> Runtime.getRuntime().halt((int) step.seconds());
            default -> throw new IllegalArgumentException("unknown step: " + step);
        }
    }

    private void awaitRightCode(Step step) throws InterruptedException {
        boolean modal = step.argument(0).equals("modal");
        long ahead = Long.parseLong(step.argument(2));
        secondFactor.awaitRightCode(owner(), modal, Totp.ofHex(step.argument(1)), ahead, step.argument(3).equals("new"));
    }

    private static void cover(Step step) {
        int[] place = Arrays.stream(step.argument(1).split(",")).mapToInt(Integer::parseInt).toArray();
        Thread thread = new Thread(() -> {
            Swing.pause(step.seconds());
            JFrame frame = new JFrame("IBKR Gateway");
            frame.setBounds(place[0], place[1], place[2], place[3]);
            Swing.run(() -> frame.setVisible(true));
            Swing.pause(Double.parseDouble(step.argument(2)));
            Swing.run(frame::dispose);
        });
        thread.setDaemon(true);
        thread.start();
    }

    /** Dialogs belong to the main window, as soon as there is one. */
    private JFrame owner() {
        return main.frame() == null ? login.frame() : main.frame();
    }

    private static List<String> names(Step step, int index) {
        return step.argument(index).isEmpty() ? List.of() : List.of(step.argument(index).split(","));
    }

    private void show(Step step, Message.Kind kind) {
        message = new Message(owner(), step.argument(0), step.argument(1), names(step, 2), kind);
        Swing.run(message::open);
    }

    private void awaitAnswer() throws InterruptedException {
        if (message.awaitAnswer().equals("Exit Application")) {
            shutdown.run(owner());
        }
    }

    private Path sessionFile() {
        return settings.resolve(SESSION_FOLDER).resolve("autorestart");
    }

    private void keepSession() throws IOException {
        Files.createDirectories(sessionFile().getParent());
        Files.writeString(sessionFile(), "");
    }

    private void restart() throws IOException {
        new Message(owner(), "Restart in progress", "", List.of(), Message.Kind.LABEL).openNow();
        Swing.pause(Shutdown.SECONDS);
        keepSession();
        System.exit(0);
    }
}
