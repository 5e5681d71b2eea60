package ibgateway;

import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import java.util.HexFormat;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** The codes of an authenticator app: six digits, 30 seconds, HMAC-SHA1 (RFC 6238). */
record Totp(byte[] secret) {
    private static final int PERIOD = 30;

    static Totp ofHex(String secret) {
        return new Totp(HexFormat.of().parseHex(secret));
    }

    /** Whether this is the code of the moment (seconds since 1970), and of no other. */
    boolean accepts(String code, long moment) {
        return code.equals(code(moment / PERIOD));
    }

    private String code(long step) {
        try {
            Mac mac = Mac.getInstance("HmacSHA1");
            mac.init(new SecretKeySpec(secret, "HmacSHA1"));
            byte[] digest = mac.doFinal(ByteBuffer.allocate(Long.BYTES).putLong(step).array());
            int offset = digest[digest.length - 1] & 0xf;
            int number = ByteBuffer.wrap(digest, offset, Integer.BYTES).getInt() & Integer.MAX_VALUE;
            return "%06d".formatted(number % 1_000_000);
        } catch (GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }
}
