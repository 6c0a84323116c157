/* What a connection says, and the bytes it must hear: pure, no socket.
 *
 *     plain port, PROTOCOL §1.1      → <text>            ← <text before><text>
 *     session port, PROTOCOL §2.1    → HELLO             ← WELCOME <name>.<secret> 1 0 <ttl>
 *                            resumed → HELLO <token>     ← WELCOME <token> 2 0 <ttl>
 *                            §2.2    → ECHO <n> <text>   ← PREV <n-1> <text before>
 *                                                          ECHO <n> <text>
 *
 * A text has `line_bytes` with its LF on both ports, so a session's line is longer by its verb
 * and number. On both, what is sent is the last line of its own reply: `expected` holds both.
 *
 * Included by load.c alone.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HELLO "HELLO\n"
#define WELCOME_BYTES_MAX 160 /* PROTOCOL: what a server adds to a line */
#define TOKEN_BYTES_MAX 111   /* a name, a dot, a secret of up to 100 */
#define FIRST_EPOCH 1

struct dialogue {
    uint64_t lines;  /* said so far */
    size_t line_at;  /* where in `expected` the line begins that is said */
    size_t length;   /* of `expected` */
    size_t matched;  /* bytes of `expected` that were heard */
    char *expected;  /* the reply; room for expected_bytes_max() */
};

static size_t expected_bytes_max(void) { return 2 * (VERB_BYTES_MAX + line_bytes); }

/* A text no other connection has: hex numbers in its first 25 bytes, of the connection and,
 * with `number_text`, of the line. */
static void begin_dialogue(struct dialogue *d, unsigned connection) {
    char *text = d->expected;
    d->length = line_bytes;
    for (size_t i = 0; i < line_bytes; i++)
        text[i] = (char)('a' + (i + connection) % 26);
    for (int i = 7; i >= 0; i--, connection >>= 4)
        text[i] = "0123456789abcdef"[connection & 15];
    text[8] = text[25] = ' ';
    text[line_bytes - 1] = '\n';
}

static void number_text(char *text, uint64_t number) {
    for (int i = 24; i > 8; i--, number >>= 4)
        text[i] = "0123456789abcdef"[number & 15];
}

/* Verb and number on the session port, nothing on the plain one; returns where the text goes. */
static char *put_verb(char *at, const char *verb, uint64_t number) {
    return session ? at + sprintf(at, "%s %llu ", verb, (unsigned long long)number) : at;
}

/* Make `expected` the reply to one line more; that line is in it, from `line_at` on. */
static void next_line(struct dialogue *d) {
    static char before[LINE_BYTES_MAX];
    memcpy(before, d->expected + d->length - line_bytes, line_bytes);
    char *at = put_verb(d->expected, "PREV", d->lines);
    memcpy(at, before, line_bytes);
    d->line_at = (size_t)(at + line_bytes - d->expected);
    at = put_verb(d->expected + d->line_at, "ECHO", ++d->lines);
    memcpy(at, before, line_bytes);
    number_text(at, d->lines);
    d->length = (size_t)(at + line_bytes - d->expected);
    d->matched = d->lines == 1 ? d->line_at : 0; /* the first is answered alone */
}

/* Whether these bytes are, to the last, a welcome to a new session, or to one that was opened
 * once, by nobody's line, and is resumed by its `token`. */
static bool is_welcome(const char *got, size_t length, const char *token) {
    char text[WELCOME_BYTES_MAX + 1], again[WELCOME_BYTES_MAX + 1], name[11], secret[101];
    char named[TOKEN_BYTES_MAX + 1];
    unsigned ttl_s, epoch = token ? FIRST_EPOCH + 1 : FIRST_EPOCH;
    if (length > WELCOME_BYTES_MAX)
        return false;
    memcpy(text, got, length);
    text[length] = '\0';
    if (sscanf(text, "WELCOME %10[a-z2-7].%100[A-Za-z0-9_-] %*u 0 %u", name, secret, &ttl_s) != 3)
        return false;
    snprintf(named, sizeof named, "%s.%s", name, secret);
    if (token && strcmp(named, token))
        return false;
    /* sscanf is lenient with blanks; what it read has one spelling. */
    int n = snprintf(again, sizeof again, "WELCOME %s %u 0 %u\n", named, epoch, ttl_s);
    return strlen(name) == 10 && (size_t)n == length && !memcmp(again, got, length);
}
