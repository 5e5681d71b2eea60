package ibgateway;

import java.util.List;
import javax.swing.JFrame;

/** The end of a gateway that logs out in order: a dialog shows the progress, then the process ends with 0. */
final class Shutdown {
    /** How long the progress shows. */
    static final double SECONDS = 0.5;

    void run(JFrame owner) {
        new Message(owner, "Shutdown progress", "", List.of(), Message.Kind.LABEL).openNow();
        Swing.pause(SECONDS);
        System.exit(0);
    }
}
