package lakehouse;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.DateTimeException;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.time.LocalDateTime;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Reads a JSON record once and answers with its fields or with what is wrong with it, never with both: so no record
 * can fall between the table and the dead letters. What a record must look like is the second argument, made from the
 * contract (see statements.py): `name:type:required:longest;…`, where a name also stands for its camelCase spelling. Four
 * more parts may follow: the path under which the record carries the field, if it is another one (`data.score`), its
 * least and its greatest value, and `field=value` of the records that must have it; of others it is not read.
 */
public class ParseRecord extends ScalarFunction {
    private static final long FUTURE_SECONDS = 3600;
    private static final Instant EARLIEST = Instant.parse("1900-01-01T00:00:00Z");
    private static final Instant LATEST = Instant.parse("2200-01-01T00:00:00Z");
    private static final int FURTHEST_OFFSET_SECONDS = 15 * 3600;
    private static final int DEEPEST = 100;
    private static final JsonFactory JSON = new JsonFactory();
    private static final int[] NANOS = {
        1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1
    };

    /** The record that the thread read last: a source that reads it for its clock, and the branches behind it. */
    private static final ThreadLocal<Answer> LAST = new ThreadLocal<>();

    private transient String known;
    private transient Field[] fields;
    private transient Map<String, Field> byName;
    private transient Map<String, Map<String, Field>> inside;

    private record Field(
            int position, String path, String type, boolean isRequired, int longest, long least, long most,
            Field decider, String neededFor) {}

    /** What a record carries for a field that is read only if another one says so, which may come later. */
    private record Deferred(JsonToken token, String text) {}

    private record Answer(byte[] value, Instant sentAt, String contract, RowData row) {
        boolean isOf(byte[] value, Instant sentAt, String contract) {
            return Arrays.equals(value, this.value) && sentAt.equals(this.sentAt) && contract.equals(this.contract);
        }
    }

    private static final class Refused extends Exception {
        final String type;

        Refused(String type, String message) {
            super(message, null, false, false);
            this.type = type;
        }
    }

    /**
     * Texts are the fields in the contract's order, null where absent, numbers in plain digits; the time is the first
     * field of type `time`.
     */
    @DataTypeHint(
            value = "ROW<error_type STRING, error_message STRING, event_time TIMESTAMP_LTZ(6), payload STRING,"
                    + " texts ARRAY<STRING>>",
            bridgedTo = RowData.class)
    public RowData eval(
            byte[] value, @DataTypeHint("TIMESTAMP_LTZ(3)") Instant sentAt, String contract) {
        Answer last = LAST.get();
        if (last != null && last.isOf(value, sentAt, contract)) {
            return last.row;
        }
        if (!contract.equals(known)) {
            read(contract);
        }
        RowData row;
        try {
            row = accepted(value, sentAt);
        } catch (Refused refused) {
            row = GenericRowData.of(
                    StringData.fromString(refused.type), StringData.fromString(refused.getMessage()), null, null, null);
        }
        LAST.set(new Answer(value, sentAt, contract, row));
        return row;
    }

    private RowData accepted(byte[] value, Instant sentAt) throws Refused {
        if (value == null) {
            throw new Refused("NULL_VALUE", "the record has no value");
        }
        if (value.length == 0) {
            throw new Refused("EMPTY_VALUE", "the record is empty");
        }
        String payload;
        try {
            payload = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString();
        } catch (CharacterCodingException error) {
            throw new Refused("INVALID_UTF8", "the record is not valid UTF-8");
        }
        String[] texts = new String[fields.length];
        Instant[] times = new Instant[fields.length];
        Deferred[] deferred = new Deferred[fields.length];
        try (JsonParser parser = JSON.createParser(payload)) {
            readObject(parser, payload, texts, times, deferred);
        } catch (IOException error) {
            throw new Refused("INVALID_JSON", "the record is not valid JSON");
        }
        Instant eventTime = null;
        for (Field field : fields) {
            boolean isNeeded = field.isRequired;
            if (field.decider != null) {
                isNeeded = field.neededFor.equals(texts[field.decider.position]);
                Deferred found = deferred[field.position];
                if (isNeeded && found != null) {
                    take(field, found.token, found.text, texts, times);
                }
            }
            if (isNeeded && texts[field.position] == null) {
                throw new Refused("MISSING_FIELD", field.path + ": required, but absent, null or empty");
            }
            if (eventTime == null && times[field.position] != null) {
                eventTime = times[field.position];
            }
        }
        if (eventTime != null && eventTime.isAfter(sentAt.plusSeconds(FUTURE_SECONDS))) {
            throw new Refused("FUTURE_TIME", "the event is more than 1 h ahead of its time in Kafka: " + eventTime);
        }
        StringData[] found = new StringData[texts.length];
        for (int i = 0; i < texts.length; i++) {
            found[i] = StringData.fromString(texts[i]);
        }
        return GenericRowData.of(
                null,
                null,
                eventTime == null ? null : TimestampData.fromInstant(eventTime),
                StringData.fromBytes(value),
                new GenericArrayData(found));
    }

    private void readObject(
            JsonParser parser, String payload, String[] texts, Instant[] times, Deferred[] deferred)
            throws IOException, Refused {
        JsonToken token = parser.nextToken();
        if (token == null) {
            throw new Refused("INVALID_JSON", "the record is not valid JSON");
        }
        boolean isObject = token == JsonToken.START_OBJECT;
        int depth = token.isStructStart() ? 1 : 0;
        checkText(parser, token);
        Field field = null;
        Field open = null;
        int openedAt = 0;
        Map<String, Field> inner = null;
        while ((token = parser.nextToken()) != null) {
            if (depth == 0) {
                throw new Refused("INVALID_JSON", "the record is not valid JSON");
            }
            checkText(parser, token);
            if (isObject && token == JsonToken.FIELD_NAME) {
                if (depth == 1) {
                    field = byName.get(parser.currentName());
                    inner = inside.get(parser.currentName());
                } else if (depth == 2 && inner != null) {
                    field = inner.get(parser.currentName());
                }
            } else if (field != null) {
                if (field.type.equals("json") && token == JsonToken.START_OBJECT) {
                    open = field;
                    openedAt = (int) parser.currentTokenLocation().getCharOffset();
                } else if (field.decider != null) {
                    deferred[field.position] = new Deferred(token, parser.getText());
                } else {
                    take(field, token, parser.getText(), texts, times);
                }
                field = null;
            } else if (open != null && depth == 2 && token == JsonToken.END_OBJECT) {
                texts[open.position] = payload.substring(openedAt, (int) parser.currentLocation().getCharOffset());
                open = null;
            }
            depth += token.isStructStart() ? 1 : token.isStructEnd() ? -1 : 0;
            if (depth > DEEPEST) {
                throw new Refused("TOO_DEEP", "objects and arrays are nested more than " + DEEPEST + " deep");
            }
        }
        if (!isObject) {
            throw new Refused("NOT_AN_OBJECT", "the record is JSON, but not an object");
        }
    }

    private static void take(Field field, JsonToken token, String text, String[] texts, Instant[] times)
            throws Refused {
        if (token == JsonToken.VALUE_NULL) {
            return;
        }
        boolean isText = token == JsonToken.VALUE_STRING;
        boolean isWhole = token == JsonToken.VALUE_NUMBER_INT;
        boolean isFitting = switch (field.type) {
            case "string" -> isText;
            case "identifier", "timestamp" -> isText || isWhole;
            case "json" -> false;
            default -> isWhole;
        };
        if (!isFitting) {
            String expected = switch (field.type) {
                case "string" -> "a string";
                case "identifier" -> "a string or a whole number";
                case "timestamp" -> "ISO 8601 or epoch milliseconds";
                case "json" -> "an object";
                default -> "a whole number";
            };
            throw new Refused("WRONG_TYPE", field.path + ": expected " + expected + ", found " + token.name());
        }
        if (text.isEmpty()) {
            return;
        }
        if (field.longest > 0 && text.length() > field.longest) {
            int length = text.codePointCount(0, text.length());
            if (length > field.longest) {
                throw new Refused("TOO_LONG",
                        field.path + ": " + length + " characters, at most " + field.longest + " are allowed");
            }
        }
        switch (field.type) {
            case "timestamp" -> times[field.position] = timeOf(field, text, isWhole);
            case "int", "long" -> checkRange(field, text);
            default -> { }
        }
        texts[field.position] = text;
    }

    private static Instant timeOf(Field field, String text, boolean isMilliseconds) throws Refused {
        try {
            Instant time = isMilliseconds ? Instant.ofEpochMilli(Long.parseLong(text)) : timeOf(text);
            if (time.isBefore(EARLIEST) || time.isAfter(LATEST)) {
                throw new Refused("INVALID_TIMESTAMP", field.path + ": " + text + " is not between 1900 and 2200");
            }
            return time.truncatedTo(ChronoUnit.MICROS);
        } catch (DateTimeException | NumberFormatException error) {
            throw new Refused("INVALID_TIMESTAMP", field.path + ": not a time: " + text
                    + "; expected ISO 8601, with UTC where it has no offset, or epoch milliseconds");
        }
    }

    /**
     * A date, `T` or a space, hours and minutes; then seconds with up to nine digits behind the point, and an offset, if
     * they are given. By hand: a formatter of `java.time` takes longer than all the rest of a record.
     */
    private static Instant timeOf(String text) {
        int length = text.length();
        if (length < 16 || text.charAt(4) != '-' || text.charAt(7) != '-' || text.charAt(13) != ':'
                || text.charAt(10) != 'T' && text.charAt(10) != ' ') {
            throw new DateTimeException(text);
        }
        int at = 16;
        int second = 0;
        int nano = 0;
        if (at < length && text.charAt(at) == ':') {
            second = number(text, 17, 19);
            at = 19;
            if (at < length && text.charAt(at) == '.') {
                int from = ++at;
                while (at < length && isDigit(text.charAt(at))) {
                    at++;
                }
                nano = number(text, from, at) * NANOS[at - from];
            }
        }
        LocalDateTime time = LocalDateTime.of(
                number(text, 0, 4), number(text, 5, 7), number(text, 8, 10), number(text, 11, 13),
                number(text, 14, 16), second, nano);
        return time.toInstant(ZoneOffset.ofTotalSeconds(at == length ? 0 : offsetSeconds(text, at)));
    }

    /** `Z`, `+hh`, `+hhmm` or `+hh:mm`, up to the end of the text. */
    private static int offsetSeconds(String text, int at) {
        int length = text.length() - at;
        char sign = text.charAt(at);
        if (sign == 'Z' && length == 1) {
            return 0;
        }
        boolean hasColon = length == 6 && text.charAt(at + 3) == ':';
        if (sign != '+' && sign != '-' || length != 3 && length != 5 && !hasColon) {
            throw new DateTimeException(text);
        }
        int minutes = length == 3 ? 0 : number(text, text.length() - 2, text.length());
        int seconds = number(text, at + 1, at + 3) * 3600 + minutes * 60;
        if (minutes > 59 || seconds >= FURTHEST_OFFSET_SECONDS) {
            throw new DateTimeException(text);
        }
        return sign == '-' ? -seconds : seconds;
    }

    /** One to nine digits of a text, as a number. */
    private static int number(String text, int from, int to) {
        if (to > text.length() || to <= from || to - from > 9) {
            throw new DateTimeException(text);
        }
        int number = 0;
        for (int i = from; i < to; i++) {
            if (!isDigit(text.charAt(i))) {
                throw new DateTimeException(text);
            }
            number = number * 10 + text.charAt(i) - '0';
        }
        return number;
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    private static void checkRange(Field field, String text) throws Refused {
        try {
            long number = Long.parseLong(text);
            if (number >= field.least && number <= field.most) {
                return;
            }
        } catch (NumberFormatException error) {
            // Beyond 64 bits.
        }
        throw new Refused("OUT_OF_RANGE", field.path + ": " + text + " is not between " + field.least + " and "
                + field.most);
    }

    /** No engine and no database keeps these apart from damage, so they are refused wherever they stand. */
    private static void checkText(JsonParser parser, JsonToken token) throws IOException, Refused {
        if (token != JsonToken.VALUE_STRING && token != JsonToken.FIELD_NAME) {
            return;
        }
        String text = parser.getText();
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == 0) {
                throw new Refused("NUL_CHARACTER", "the record holds the character U+0000");
            }
            if (Character.isSurrogate(c)) {
                boolean isPair = Character.isHighSurrogate(c) && i + 1 < text.length()
                        && Character.isLowSurrogate(text.charAt(i + 1));
                if (!isPair) {
                    throw new Refused("INVALID_UTF8", "the record holds half of a surrogate pair");
                }
                i++;
            }
        }
    }

    private void read(String contract) {
        String[] lines = contract.split(";");
        fields = new Field[lines.length];
        byName = new HashMap<>();
        inside = new HashMap<>();
        for (int i = 0; i < lines.length; i++) {
            String[] parts = Arrays.copyOf(lines[i].split(":"), 8);
            boolean isInt = parts[1].equals("int");
            String[] condition = isGiven(parts[7]) ? parts[7].split("=") : new String[] {null, null};
            fields[i] = new Field(
                    i,
                    isGiven(parts[4]) ? parts[4] : parts[0],
                    parts[1],
                    parts[2].equals("required"),
                    Integer.parseInt(parts[3]),
                    isGiven(parts[5]) ? Long.parseLong(parts[5]) : isInt ? Integer.MIN_VALUE : Long.MIN_VALUE,
                    isGiven(parts[6]) ? Long.parseLong(parts[6]) : isInt ? Integer.MAX_VALUE : Long.MAX_VALUE,
                    byName.get(condition[0]),
                    condition[1]);
            String[] path = fields[i].path.split("\\.");
            Map<String, Field> names =
                    path.length == 1 ? byName : inside.computeIfAbsent(path[0], name -> new HashMap<>());
            names.put(path[path.length - 1], fields[i]);
            names.put(camelCase(path[path.length - 1]), fields[i]);
        }
        known = contract;
    }

    private static boolean isGiven(String part) {
        return part != null && !part.isEmpty();
    }

    private static String camelCase(String name) {
        StringBuilder text = new StringBuilder();
        for (String word : name.split("_")) {
            text.append(text.isEmpty() ? word : word.substring(0, 1).toUpperCase() + word.substring(1));
        }
        return text.toString();
    }
}
