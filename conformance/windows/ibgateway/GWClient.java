package ibgateway;

import java.nio.file.Path;

/**
 * Entry point that a login controller starts instead of the real gateway: plays a script of windows.
 *
 * <p>The controllers call this class by name. The script is the file named by the environment variable
 * STANDIN_SCRIPT; each start of the process plays the script's next run (the last one repeats).
 */
public final class GWClient {
    private GWClient() {}

    /** {@code arguments[0]} is the gateway's settings directory. */
    public static void main(String[] arguments) throws Exception {
        Path scriptFile = Path.of(System.getenv("STANDIN_SCRIPT"));
        Path settings = Path.of(arguments[0]);
        Script script = Script.read(scriptFile);
        int number = RunCounter.next(scriptFile.resolveSibling("runs"));
        Thread player = new Thread(() -> play(new Player(settings), script.run(number)), "stand-in");
        player.start();
    }

    private static void play(Player player, Iterable<Step> steps) {
        try {
            for (Step step : steps) {
                player.carryOut(step);
            }
        } catch (Exception error) {
            System.out.println("stand-in: " + error);
            Runtime.getRuntime().halt(Player.BROKEN_SCRIPT);
        }
    }
}
