package ibgateway;

import java.awt.BorderLayout;
import java.awt.Component;
import java.awt.Container;
import java.awt.Window;
import java.lang.reflect.InvocationTargetException;
import javax.swing.SwingUtilities;

/** What every window needs of Swing. */
final class Swing {
    private Swing() {}

    /** Run on Swing's event thread and wait for it; at once if this is that thread. */
    static void run(Runnable action) {
        if (SwingUtilities.isEventDispatchThread()) {
            action.run();
            return;
        }
        try {
            SwingUtilities.invokeAndWait(action);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        } catch (InvocationTargetException error) {
            throw new IllegalStateException(error.getCause());
        }
    }

    static void pause(double seconds) {
        try {
            Thread.sleep(Math.round(seconds * 1000));
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    static void show(Window window, int x, int y) {
        window.pack();
        window.setLocation(x, y);
        window.setVisible(true);
    }

    /** Put the parts below each other: the first above, the last at the bottom, what is between in the middle. */
    static void fill(Container container, Component top, Component centre, Component bottom) {
        container.add(top, BorderLayout.NORTH);
        container.add(centre, BorderLayout.CENTER);
        container.add(bottom, BorderLayout.SOUTH);
    }
}
