package lakehouse;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.types.Row;

/**
 * Statistics of the cards of one set and rarity. Each is made anew of all of them, so nothing can drift and nothing has
 * to be taken back; the cards are entries of Flink's state, of which a change writes one.
 */
@FunctionHint(output = @DataTypeHint(
        "ROW<cards BIGINT, average_mana_value DECIMAL(18, 6), median_mana_value DECIMAL(18, 6), colors STRING,"
                + " price_date STRING, prices STRING, movers STRING, version BIGINT>"))
public final class StatisticsOfCards extends AggregateFunction<Row, StatisticsOfCards.Group> {
    private static final int SCALE = 6;
    private static final int MOST_MOVERS = 5;
    private static final String[] COLORS = {"W", "U", "B", "R", "G"};
    private static final String COLORLESS = "colorless";
    private static final String MULTICOLOR = "multicolor";
    private static final JsonNodeFactory NODES = JsonNodeFactory.withExactBigDecimals(true);
    private static final ObjectMapper JSON = new ObjectMapper();

    static {
        JSON.getFactory().enable(JsonGenerator.Feature.WRITE_BIGDECIMAL_AS_PLAIN);
    }

    /** What a shop asks for a card, and what it asked the day before. */
    public static final class Offer {
        public String provider;
        public String finish;
        public String currency;

        @DataTypeHint("DECIMAL(18, 6)")
        public BigDecimal price;

        @DataTypeHint("DECIMAL(18, 6)")
        public BigDecimal previous;

        private BigDecimal change() {
            return price.subtract(previous);
        }
    }

    /** A card that is, or was, of the group. */
    public static final class Card {
        public long messages;
        public boolean isThere;
        public String name;
        public String number;

        @DataTypeHint("DECIMAL(18, 6)")
        public BigDecimal manaValue;

        public String colors;
        public String priceDate;
        public String previousDate;
        public Offer[] offers;
    }

    /** The cards of the group, by id. */
    public static final class Group {
        public MapView<String, Card> cards = new MapView<>();
    }

    private record Move(String uuid, Card card, Offer offer) {
        static final Comparator<Move> ORDER = Comparator.comparing((Move move) -> move.offer.change())
                .thenComparing(Move::uuid, Comparator.reverseOrder())
                .thenComparing(move -> move.offer.provider, Comparator.reverseOrder())
                .thenComparing(move -> move.offer.finish, Comparator.reverseOrder());
        static final Comparator<Move> REVERSED = Comparator.comparing((Move move) -> move.offer.change().negate())
                .thenComparing(Move::uuid, Comparator.reverseOrder())
                .thenComparing(move -> move.offer.provider, Comparator.reverseOrder())
                .thenComparing(move -> move.offer.finish, Comparator.reverseOrder());

        ObjectNode told() {
            return NODES.objectNode()
                    .put("uuid", uuid)
                    .put("name", card.name)
                    .put("number", card.number)
                    .put("provider", offer.provider)
                    .put("finish", offer.finish)
                    .put("price", plain(offer.price))
                    .put("previous_date", card.previousDate)
                    .put("previous_price", plain(offer.previous))
                    .put("change", plain(offer.change()));
        }
    }

    @Override
    public Group createAccumulator() {
        return new Group();
    }

    /** Messages about one card come in their order, so the last holds. */
    public void accumulate(
            Group group, String setCode, String rarity, String uuid, @DataTypeHint(NewestOfCard.CARD) Row told)
            throws Exception {
        Card card = new Card();
        card.messages = (Long) told.getField(0);
        card.isThere = (Boolean) told.getField(1)
                && setCode.equals(told.getField(2)) && rarity.equals(told.getField(3));
        if (card.isThere) {
            card.name = (String) told.getField(4);
            card.number = (String) told.getField(5);
            card.manaValue = (BigDecimal) told.getField(6);
            card.colors = (String) told.getField(7);
            card.priceDate = (String) told.getField(8);
            card.previousDate = (String) told.getField(9);
            Row[] offers = (Row[]) told.getField(10);
            card.offers = new Offer[offers.length];
            for (int i = 0; i < offers.length; i++) {
                Offer offer = new Offer();
                offer.provider = (String) offers[i].getField(0);
                offer.finish = (String) offers[i].getField(1);
                offer.currency = (String) offers[i].getField(2);
                offer.price = (BigDecimal) offers[i].getField(3);
                offer.previous = (BigDecimal) offers[i].getField(4);
                card.offers[i] = offer;
            }
        }
        group.cards.put(uuid, card);
    }

    @Override
    public Row getValue(Group group) {
        try {
            return statistics(group);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private static Row statistics(Group group) throws Exception {
        long version = 0;
        String day = null;
        Map<String, Card> cards = new TreeMap<>();
        for (Map.Entry<String, Card> entry : group.cards.entries()) {
            Card card = entry.getValue();
            version += card.messages;
            if (card.isThere) {
                cards.put(entry.getKey(), card);
                if (card.priceDate != null && (day == null || card.priceDate.compareTo(day) > 0)) {
                    day = card.priceDate;
                }
            }
        }
        List<BigDecimal> manaValues = new ArrayList<>();
        Map<String, Integer> colors = new TreeMap<>();
        Map<String, List<BigDecimal>> prices = new TreeMap<>();
        Map<String, List<Move>> moves = new TreeMap<>();
        for (Map.Entry<String, Card> entry : cards.entrySet()) {
            Card card = entry.getValue();
            if (card.manaValue != null) {
                manaValues.add(card.manaValue);
            }
            colors.merge(
                    card.colors.isEmpty() ? COLORLESS : card.colors.length() > 1 ? MULTICOLOR : card.colors, 1,
                    Integer::sum);
            for (Offer offer : card.offers) {
                prices.computeIfAbsent(offer.currency, currency -> new ArrayList<>()).add(offer.price);
                if (card.priceDate.equals(day) && offer.previous != null && offer.change().signum() != 0) {
                    moves.computeIfAbsent(offer.currency, currency -> new ArrayList<>())
                            .add(new Move(entry.getKey(), card, offer));
                }
            }
        }
        return Row.of(
                (long) cards.size(), average(manaValues), median(manaValues), JSON.writeValueAsString(counts(colors)), day,
                JSON.writeValueAsString(byCurrency(prices)), JSON.writeValueAsString(movers(moves)), version);
    }

    private static ObjectNode counts(Map<String, Integer> colors) {
        ObjectNode told = NODES.objectNode();
        for (String color : COLORS) {
            told.put(color, colors.getOrDefault(color, 0));
        }
        told.put(COLORLESS, colors.getOrDefault(COLORLESS, 0));
        return told.put(MULTICOLOR, colors.getOrDefault(MULTICOLOR, 0));
    }

    private static ObjectNode byCurrency(Map<String, List<BigDecimal>> prices) throws JsonProcessingException {
        ObjectNode told = NODES.objectNode();
        prices.forEach((currency, asked) -> told.set(
                currency,
                NODES.objectNode()
                        .put("prices", asked.size())
                        .put("average", plain(average(asked)))
                        .put("minimum", plain(Collections.min(asked)))
                        .put("maximum", plain(Collections.max(asked)))
                        .put("total", plain(sum(asked)))));
        return told;
    }

    private static ObjectNode movers(Map<String, List<Move>> moves) {
        ObjectNode told = NODES.objectNode();
        moves.forEach((currency, all) -> told.set(
                currency,
                NODES.objectNode()
                        .<ObjectNode>set("up", first(all, 1, Move.ORDER))
                        .set("down", first(all, -1, Move.REVERSED))));
        return told;
    }

    /** The cards that moved most one way, each by the offer that did; of equal ones the lower id, provider, finish. */
    private static ArrayNode first(List<Move> moves, int way, Comparator<Move> order) {
        Map<String, Move> byCard = new TreeMap<>();
        for (Move move : moves) {
            if (move.offer.change().signum() == way) {
                byCard.merge(move.uuid, move, (one, other) -> order.compare(one, other) >= 0 ? one : other);
            }
        }
        ArrayNode told = NODES.arrayNode();
        byCard.values().stream().sorted(order.reversed()).limit(MOST_MOVERS).forEach(move -> told.add(move.told()));
        return told;
    }

    private static BigDecimal sum(List<BigDecimal> numbers) {
        return numbers.stream().reduce(BigDecimal.ZERO, BigDecimal::add);
    }

    private static BigDecimal average(List<BigDecimal> numbers) {
        return numbers.isEmpty()
                ? null
                : sum(numbers).divide(BigDecimal.valueOf(numbers.size()), SCALE, RoundingMode.HALF_UP);
    }

    private static BigDecimal median(List<BigDecimal> numbers) {
        if (numbers.isEmpty()) {
            return null;
        }
        Collections.sort(numbers);
        int middle = numbers.size() / 2;
        return numbers.size() % 2 == 1 ? numbers.get(middle) : average(numbers.subList(middle - 1, middle + 1));
    }

    private static BigDecimal plain(BigDecimal number) {
        BigDecimal short_ = number.stripTrailingZeros();
        return short_.scale() < 0 ? short_.setScale(0) : short_;
    }
}
