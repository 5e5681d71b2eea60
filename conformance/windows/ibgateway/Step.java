package ibgateway;

import java.util.List;

/** One line of a script: a verb and its arguments. */
record Step(String verb, List<String> arguments) {
    /** The argument at this place, or an empty text. */
    String argument(int index) {
        return index < arguments.size() ? arguments.get(index) : "";
    }

    double seconds() {
        return Double.parseDouble(argument(0));
    }

    @Override
    public String toString() {
        return verb + " " + String.join(" | ", arguments);
    }
}
