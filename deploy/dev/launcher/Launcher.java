import java.io.Closeable;
import java.lang.reflect.Proxy;

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
        giveRoles(type, runner);
        String[] rest = java.util.Arrays.copyOfRange(args, 1, args.length);
        try {
            type.getMethod("build", String[].class).invoke(runner, (Object) rest);
        } catch (ReflectiveOperationException e) {
            e.printStackTrace();
            System.exit(1);
        }
        Thread.currentThread().join();
    }

    /** The runner leaves out the role by which a node searches other clusters. */
    private static void giveRoles(Class<?> type, Object runner) throws ReflectiveOperationException {
        Class<?> builder = Class.forName(type.getName() + "$Builder");
        String master = type.getName().contains("opensearch") ? "cluster_manager" : "master";
        String[] roles = {master, "data", "remote_cluster_client"};
        Object onBuild = Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {builder}, (self, method, given) -> {
            if (method.getName().equals("build")) {
                Class<?> settings = given[1].getClass();
                settings.getMethod("putList", String.class, String[].class).invoke(given[1], "node.roles", roles);
            }
            return null;
        });
        type.getMethod("onBuild", builder).invoke(runner, onBuild);
    }

    private static void close(Closeable runner) {
        try {
            runner.close();
        } catch (java.io.IOException e) {
            e.printStackTrace();
        }
    }
}
