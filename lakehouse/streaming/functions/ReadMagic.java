package lakehouse;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.time.DateTimeException;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.DeserializationFeature;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.types.Row;

/**
 * Reads a message about a card or about a day's prices of one, as far as statistics need it. Of what bronze or silver
 * would refuse it says nothing: it is among their dead letters. Numbers are exact.
 */
public final class ReadMagic extends ScalarFunction {
    static final String OFFER = "ROW<provider STRING, finish STRING, currency STRING, price DECIMAL(18, 6)>";
    /** Dates as texts, which are in the order of days; of a card that is gone, or of prices, the rest is null. */
    static final String TOLD = "ROW<uuid STRING, build_date STRING, is_deleted BOOLEAN, set_code STRING, rarity STRING,"
            + " name STRING, number STRING, mana_value DECIMAL(18, 6), colors STRING, price_date STRING, offers ARRAY<"
            + OFFER + ">>";
    /** Where MTGJSON says none. */
    static final String NO_RARITY = "unknown";

    private static final int SCALE = 6;
    private static final int PRECISION = 18;
    /** Days that a build may be ahead of the clock, and a price ahead of its build, as bronze has it. */
    private static final int BUILD_AHEAD = 2;
    private static final int PRICE_AHEAD = 1;
    private static final int LONGEST = 100;
    private static final int LONGEST_UUID = 36;
    private static final ObjectMapper JSON = new ObjectMapper()
            .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .setNodeFactory(JsonNodeFactory.withExactBigDecimals(true));

    public @DataTypeHint(TOLD) Row eval(String payload) {
        if (payload == null) {
            return null;
        }
        JsonNode message;
        try {
            message = JSON.readTree(payload);
        } catch (JsonProcessingException | NumberFormatException error) {
            return null; // an exponent that no number has is the latter
        }
        String uuid = text(message, "uuid");
        LocalDate built = day(message, "build_date");
        if (uuid == null || uuid.length() > LONGEST_UUID || built == null
                || built.isAfter(LocalDate.now(ZoneOffset.UTC).plusDays(BUILD_AHEAD))) {
            return null;
        }
        String buildDate = built.toString();
        if (message.has("price_date")) {
            LocalDate priced = day(message, "price_date");
            if (priced == null || priced.isAfter(built.plusDays(PRICE_AHEAD))) {
                return null;
            }
            return Row.of(
                    uuid, buildDate, null, null, null, null, null, null, null, priced.toString(), offers(message));
        }
        String setCode = text(message, "set_code");
        JsonNode isDeleted = message.path("is_deleted");
        if (setCode == null || setCode.length() > LONGEST || !isDeleted.isBoolean()) {
            return null;
        }
        if (isDeleted.booleanValue()) {
            return Row.of(uuid, buildDate, true, setCode, null, null, null, null, null, null, null);
        }
        JsonNode card = message.path("card");
        String name = text(card, "name");
        if (name == null) {
            return null;
        }
        String rarity = text(card, "rarity");
        StringBuilder colors = new StringBuilder();
        card.path("colors").forEach(color -> colors.append(color.asText()));
        return Row.of(
                uuid, buildDate, false, setCode, rarity == null ? NO_RARITY : rarity, name, text(card, "number"),
                number(card.path("manaValue")), colors.toString(), null, null);
    }

    /** What shops ask for the card on paper; a price that is none, or is below zero, is refused where silver is made. */
    private static Row[] offers(JsonNode message) {
        List<Row> offers = new ArrayList<>();
        for (JsonNode one : message.path("prices")) {
            String provider = text(one, "provider");
            String finish = text(one, "finish");
            BigDecimal price = number(one.path("price"));
            boolean isAsked = "paper".equals(text(one, "channel")) && "retail".equals(text(one, "price_type"));
            if (isAsked && provider != null && finish != null && price != null && price.signum() >= 0) {
                String currency = text(one, "currency");
                offers.add(Row.of(provider, finish, currency == null ? "" : currency, price));
            }
        }
        return offers.toArray(new Row[0]);
    }

    private static String text(JsonNode object, String name) {
        JsonNode found = object.path(name);
        return found.isTextual() && !found.textValue().isEmpty() ? found.textValue() : null;
    }

    private static LocalDate day(JsonNode object, String name) {
        String text = text(object, name);
        try {
            return text == null ? null : LocalDate.parse(text);
        } catch (DateTimeException error) {
            return null;
        }
    }

    /** A number that the lake's tables can hold as it is; else null. */
    private static BigDecimal number(JsonNode found) {
        if (!found.isNumber()) {
            return null;
        }
        BigDecimal told = found.decimalValue();
        if (told.signum() == 0) {
            return BigDecimal.ZERO.setScale(SCALE);
        }
        // Digits before the point, or noughts behind it: of an exponent of millions as many digits would be written out.
        long before = (long) told.precision() - told.scale();
        if (before > PRECISION - SCALE || before <= -SCALE) {
            return null;
        }
        try {
            return told.setScale(SCALE, RoundingMode.UNNECESSARY);
        } catch (ArithmeticException error) {
            return null;
        }
    }
}
