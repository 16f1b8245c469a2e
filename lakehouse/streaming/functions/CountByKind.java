package lakehouse;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;

/** How often each text came. */
@FunctionHint(output = @DataTypeHint("MAP<STRING, BIGINT>"))
public final class CountByKind extends AggregateFunction<Map<String, Long>, CountByKind.Counts> {
    /** Counts by text. */
    public static final class Counts {
        @DataTypeHint("MAP<STRING, BIGINT>")
        public Map<String, Long> byKind = new HashMap<>();
    }

    @Override
    public Counts createAccumulator() {
        return new Counts();
    }

    public void accumulate(Counts counts, String kind) {
        counts.byKind.merge(kind, 1L, Long::sum);
    }

    public void merge(Counts counts, Iterable<Counts> others) {
        for (Counts other : others) {
            other.byKind.forEach((kind, count) -> counts.byKind.merge(kind, count, Long::sum));
        }
    }

    @Override
    public Map<String, Long> getValue(Counts counts) {
        return counts.byKind;
    }
}
