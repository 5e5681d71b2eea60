package ibgateway;

import java.time.Duration;
import java.time.LocalTime;
import java.time.temporal.ChronoUnit;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import javax.swing.JFrame;
import javax.swing.JMenu;
import javax.swing.JMenuBar;
import javax.swing.JMenuItem;

/** The main window with the menus that a controller uses: File, Close and Configure, Settings. */
final class MainWindow {
    private static final long MINUTES_OF_A_DAY = Duration.ofDays(1).toMinutes();

    private final Shutdown shutdown;
    private final JMenuItem settings = new JMenuItem("Settings");
    private final BlockingQueue<LocalTime> restartTimes = new LinkedBlockingQueue<>();
    private volatile boolean withReadOnly = true;
    private JFrame frame;

    MainWindow(Shutdown shutdown) {
        this.shutdown = shutdown;
    }

    /** Open it unless it is open; {@code withSettings}: the menu has the entry for the configuration. */
    void open(boolean withSettings) {
        if (frame != null) {
            return;
        }
        frame = new JFrame("IBKR Gateway");
        JMenuItem close = new JMenuItem("Close");
        close.addActionListener(event -> new Thread(() -> shutdown.run(frame), "shutdown").start());
        settings.setEnabled(false);
        settings.addActionListener(event -> new ConfigurationDialog(frame, withReadOnly, restartTimes::add).open());
        JMenuBar bar = new JMenuBar();
        bar.add(menu("File", close));
        bar.add(withSettings ? menu("Configure", settings) : new JMenu("Configure"));
        bar.add(menu("Help", new JMenuItem("About IB Gateway")));
        frame.setJMenuBar(bar);
        frame.setSize(500, 300);
        frame.setVisible(true);
    }

    private static JMenu menu(String name, JMenuItem item) {
        JMenu menu = new JMenu(name);
        menu.add(item);
        return menu;
    }

    void enableSettings() {
        settings.setEnabled(true);
    }

    void leaveOutReadOnly() {
        withReadOnly = false;
    }

    /** Wait until the configuration is confirmed with a restart time in the coming two minutes. */
    void awaitRestartTime() throws InterruptedException {
        Duration left;
        do {
            left = Duration.between(LocalTime.now().truncatedTo(ChronoUnit.MINUTES), restartTimes.take());
        } while (Math.floorMod(left.toMinutes(), MINUTES_OF_A_DAY) > 2);
    }

    /** The window, or null if it has not been opened. */
    JFrame frame() {
        return frame;
    }
}
