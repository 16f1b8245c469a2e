package lakehouse;

import java.nio.file.Path;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Submits a job of SQL: a file of JSON with `settings` (text by name) and `statements`, the last of which starts the
 * job. (Flink's own SQL client does not start without Flink's Python.)
 */
public final class SubmitSql {
    private SubmitSql() {}

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        JsonNode job = json.readTree(Path.of(arguments[0]).toFile());
        Configuration settings = new Configuration();
        for (Map.Entry<String, JsonNode> setting : job.get("settings").properties()) {
            settings.setString(setting.getKey(), setting.getValue().asText());
        }
        TableEnvironment environment = TableEnvironment.create(
                EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        for (JsonNode statement : job.get("statements")) {
            environment.executeSql(statement.asText())
                    .getJobClient().ifPresent(client -> System.out.println(client.getJobID()));
        }
    }
}
