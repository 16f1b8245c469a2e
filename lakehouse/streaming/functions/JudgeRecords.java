package lakehouse;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Base64;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.data.RowData;

/**
 * Says what `ParseRecord` would say of records that were sent now: each line of the input is one in Base64, or `-` for
 * none; each line of the output a JSON array, empty or with the kind of failure and the reason.
 */
public final class JudgeRecords {
    private JudgeRecords() {}

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        ParseRecord parser = new ParseRecord();
        Instant now = Instant.now();
        BufferedReader records = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        try (PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8)) {
            for (String line = records.readLine(); line != null; line = records.readLine()) {
                byte[] value = line.equals("-") ? null : Base64.getDecoder().decode(line);
                RowData answer = parser.eval(value, now, arguments[0]);
                Object[] reason = answer.isNullAt(0)
                        ? new Object[0] : new Object[] {answer.getString(0).toString(), answer.getString(1).toString()};
                answers.println(json.writeValueAsString(reason));
            }
        }
    }
}
