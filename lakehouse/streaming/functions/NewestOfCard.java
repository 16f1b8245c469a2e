package lakehouse;

import java.math.BigDecimal;
import java.time.Instant;
import java.util.Arrays;
import java.util.Objects;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.types.Row;

/**
 * What is known of a card after all messages about it, in whatever order they came: the card as the newest build has it,
 * its prices of the newest day and of the one before, and where it ever was. Older days are forgotten: they will never
 * be asked for again.
 */
@FunctionHint(output = @DataTypeHint(NewestOfCard.CARD))
public final class NewestOfCard extends AggregateFunction<Row, NewestOfCard.Known> {
    /**
     * `messages` is how many there were; `groups` are the sets and rarities that the card was ever of, so that one which
     * it left hears of that.
     */
    static final String CARD = "ROW<messages BIGINT, is_there BOOLEAN, set_code STRING, rarity STRING, name STRING,"
            + " number STRING, mana_value DECIMAL(18, 6), colors STRING, price_date STRING, previous_date STRING,"
            + " offers ARRAY<ROW<provider STRING, finish STRING, currency STRING, price DECIMAL(18, 6),"
            + " previous_price DECIMAL(18, 6)>>, `groups` ARRAY<ROW<set_code STRING, rarity STRING>>>";

    /** When something was said: the newest build counts, and of one build what came last. */
    public static final class Said {
        public String buildDate;
        public long sentAt;
        public long offset;

        private boolean isBefore(Said other) {
            int builds = buildDate.compareTo(other.buildDate);
            int times = builds == 0 ? Long.compare(sentAt, other.sentAt) : builds;
            return times == 0 ? offset < other.offset : times < 0;
        }
    }

    /** A day's prices. */
    public static final class Day {
        public Said said;
        public String date;

        @DataTypeHint("ARRAY<" + ReadMagic.OFFER + ">")
        public Row[] offers;
    }

    /** What is kept of a card. */
    public static final class Known {
        public long messages;
        public Said said;

        @DataTypeHint(ReadMagic.TOLD)
        public Row card;

        public Day newest;
        public Day before;

        @DataTypeHint("ARRAY<ROW<set_code STRING, rarity STRING>>")
        public Row[] groups = {};
    }

    @Override
    public Known createAccumulator() {
        return new Known();
    }

    public void accumulate(
            Known known,
            @DataTypeHint(ReadMagic.TOLD) Row told,
            @DataTypeHint("TIMESTAMP_LTZ(3)") Instant sentAt,
            Long offset) {
        known.messages++;
        Said said = new Said();
        said.buildDate = (String) told.getField(1);
        said.sentAt = sentAt == null ? 0 : sentAt.toEpochMilli();
        said.offset = offset;
        if (told.getField(9) != null) {
            Day day = new Day();
            day.said = said;
            day.date = (String) told.getField(9);
            day.offers = (Row[]) told.getField(10);
            addDay(known, day);
            return;
        }
        if (known.said == null || known.said.isBefore(said)) {
            known.said = said;
            known.card = told;
        }
        Row group = Row.of(told.getField(3), told.getField(4));
        if (group.getField(1) != null && !Arrays.asList(known.groups).contains(group)) {
            known.groups = Arrays.copyOf(known.groups, known.groups.length + 1);
            known.groups[known.groups.length - 1] = group;
        }
    }

    private static void addDay(Known known, Day day) {
        int place = known.newest == null ? 1 : day.date.compareTo(known.newest.date);
        if (place > 0) {
            known.before = known.newest;
            known.newest = day;
        } else if (place == 0) {
            known.newest = newer(known.newest, day);
        } else if (known.before == null || day.date.compareTo(known.before.date) > 0) {
            known.before = day;
        } else if (day.date.equals(known.before.date)) {
            known.before = newer(known.before, day);
        }
    }

    private static Day newer(Day one, Day other) {
        return one.said.isBefore(other.said) ? other : one;
    }

    @Override
    public Row getValue(Known known) {
        boolean isThere = known.card != null && Boolean.FALSE.equals(known.card.getField(2));
        Row told = isThere ? known.card : new Row(11);
        return Row.of(
                known.messages, isThere, told.getField(3), told.getField(4), told.getField(5), told.getField(6),
                told.getField(7), told.getField(8), known.newest == null ? null : known.newest.date,
                known.before == null ? null : known.before.date, offers(known), known.groups);
    }

    /** The newest day's offers, each with what was asked for the same the day before. */
    private static Row[] offers(Known known) {
        if (known.newest == null) {
            return new Row[0];
        }
        return Arrays.stream(known.newest.offers)
                .map(offer -> Row.of(
                        offer.getField(0), offer.getField(1), offer.getField(2), offer.getField(3),
                        previous(known.before, offer)))
                .toArray(Row[]::new);
    }

    private static BigDecimal previous(Day before, Row offer) {
        if (before != null) {
            for (Row one : before.offers) {
                if (Objects.equals(one.getField(0), offer.getField(0))
                        && Objects.equals(one.getField(1), offer.getField(1))
                        && Objects.equals(one.getField(2), offer.getField(2))) {
                    return (BigDecimal) one.getField(3);
                }
            }
        }
        return null;
    }
}
