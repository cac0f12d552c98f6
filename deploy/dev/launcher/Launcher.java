import java.io.Closeable;

/**
 * Starts a search server through its test runner, on any port: the runner's own command line takes 9201 to 9299 only.
 * By reflection, because OpenSearch and Elasticsearch have the same runner under two names.
 */
public final class Launcher {
    private Launcher() {}

    public static void main(String[] args) throws Exception {
        Class<?> type = Class.forName(args[0]);
        Closeable runner = (Closeable) type.getConstructor().newInstance();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(runner)));
        // Below zero: take the port as given.
        type.getMethod("setMaxHttpPort", int.class).invoke(runner, -1);
        String[] rest = java.util.Arrays.copyOfRange(args, 1, args.length);
        try {
            type.getMethod("build", String[].class).invoke(runner, (Object) rest);
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            System.exit(1);
        }
        Thread.currentThread().join();
    }

    private static void close(Closeable runner) {
        try {
            runner.close();
        } catch (java.io.IOException e) {
            e.printStackTrace();
        }
    }
}
