package lakehouse;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;

/** How often each text came; nothing, where there are more different ones than are told. */
@FunctionHint(output = @DataTypeHint("MAP<STRING, BIGINT>"))
public final class CountByKind extends AggregateFunction<Map<String, Long>, CountByKind.Counts> {
    /** Counts by text. */
    public static final class Counts {
        @DataTypeHint("MAP<STRING, BIGINT>")
        public Map<String, Long> byKind = new HashMap<>();

        public int most;

        /** There were too many, and there will be: nothing is kept of them, or somebody could make it ever larger. */
        public boolean isTooMany;

        private void add(String kind, long count) {
            if (isTooMany) {
                return;
            }
            byKind.merge(kind, count, Long::sum);
            if (byKind.size() > most) {
                isTooMany = true;
                byKind.clear();
            }
        }
    }

    @Override
    public Counts createAccumulator() {
        return new Counts();
    }

    public void accumulate(Counts counts, String kind, int most) {
        counts.most = most;
        counts.add(kind, 1L);
    }

    public void merge(Counts counts, Iterable<Counts> others) {
        for (Counts other : others) {
            counts.most = Math.max(counts.most, other.most);
            if (other.isTooMany) {
                counts.isTooMany = true;
                counts.byKind.clear();
            }
            other.byKind.forEach(counts::add);
        }
    }

    @Override
    public Map<String, Long> getValue(Counts counts) {
        return counts.byKind;
    }
}
