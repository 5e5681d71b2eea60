package ibgateway;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** Counts the starts of the process, which a controller repeats after a restart. */
final class RunCounter {
    private RunCounter() {}

    /** Increment the number in the file (0 if there is none) and return it. */
    static int next(Path file) throws IOException {
        int number = Files.exists(file) ? Integer.parseInt(Files.readString(file).strip()) + 1 : 1;
        Files.writeString(file, Integer.toString(number));
        return number;
    }
}
