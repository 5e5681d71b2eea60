package ibgateway;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * What the stand-in does, read from a text file.
 *
 * <p>A line {@code run} starts the steps of one start of the process. Each other line is a step:
 * {@code verb argument | argument}; in an argument {@code \n} is a line break. {@link Player} lists the verbs.
 */
record Script(List<List<Step>> runs) {
    static Script read(Path file) throws IOException {
        List<List<Step>> runs = new ArrayList<>();
        for (String line : Files.readAllLines(file)) {
            String text = line.strip();
            if (text.isEmpty()) {
                continue;
            }
            if (text.equals("run")) {
                runs.add(new ArrayList<>());
            } else {
                runs.get(runs.size() - 1).add(parse(text));
            }
        }
        return new Script(runs);
    }

    private static Step parse(String line) {
        String[] parts = line.split(" ", 2);
        if (parts.length == 1) {
            return new Step(parts[0], List.of());
        }
        List<String> arguments = Arrays.stream(parts[1].split("\\|"))
                .map(part -> part.strip().replace("\\n", "\n"))
                .toList();
        return new Step(parts[0], arguments);
    }

    /** The steps of the start with this number, counted from 1; the last run repeats. */
    List<Step> run(int number) {
        return runs.get(Math.min(number, runs.size()) - 1);
    }
}
