/* How the fan-out generator speaks: what goes out, and how what comes in divides into messages.
 *
 *     echod      PROTOCOL §2 and §3: lines
 *     socketio   Engine.IO 4 and Socket.IO 5 (its protocol's revisions), in WebSocket frames
 *     channels   the consumer of lab/measure/peers/channels_app.py: JSON in WebSocket frames
 *
 * Bytes in, bytes out: no socket, no state. Included by fanout.c alone, after fanout_settings.h.
 */
#include <stdbool.h>
#include <stdint.h>

/* RFC 6455, 5.2: what this client meets. Servers of chats send short, whole, unmasked frames. */
enum opcode { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };
#define FRAME_SHORT_MAX 125
#define FRAME_HEAD_MAX 4 /* with a length of 16 bits; longer ones are none of ours */

/* A client masks what it sends, against proxies that see HTTP in it. Any key does here. */
static const unsigned char mask_key[4] = {0x37, 0xfa, 0x21, 0x3d};

struct message {
    const char *bytes;
    size_t length;
    unsigned opcode; /* TEXT for a line */
    size_t consumed; /* of what came in; 0 if the message is not there whole, */
    bool broken;     /* or is none */
};

/* One message for the server, in `out`: a line or a masked frame; returns its length. */
static size_t pack(unsigned opcode, const char *bytes, size_t length, char *out) {
    if (speech == ECHOD) {
        memcpy(out, bytes, length);
        out[length] = '\n';
        return length + 1;
    }
    if (length > FRAME_SHORT_MAX) {
        fprintf(stderr, "fanout: a message of %zu bytes\n", length);
        exit(2);
    }
    out[0] = (char)(0x80 | opcode);
    out[1] = (char)(0x80 | length);
    memcpy(out + 2, mask_key, 4);
    for (size_t i = 0; i < length; i++)
        out[6 + i] = (char)(bytes[i] ^ mask_key[i % 4]);
    return length + 6;
}

static struct message next_line(const char *in, size_t length) {
    const char *end = memchr(in, '\n', length);
    if (!end)
        return (struct message){0};
    return (struct message){in, (size_t)(end - in), TEXT, (size_t)(end - in) + 1, false};
}

static struct message next_frame(const char *in, size_t length) {
    const unsigned char *head = (const unsigned char *)in;
    if (length < 2)
        return (struct message){0};
    size_t size = head[1], skip = 2;
    if (!(head[0] & 0x80) || (head[0] & 0x70) || size > 126)
        return (struct message){.broken = true}; /* a fragment, compressed, masked or huge */
    if (size == 126) {
        if (length < FRAME_HEAD_MAX)
            return (struct message){0};
        size = (size_t)head[2] << 8 | head[3];
        skip = FRAME_HEAD_MAX;
    }
    if (length < skip + size)
        return (struct message){0};
    return (struct message){in + skip, size, head[0] & 15, skip + size, false};
}

/* The answer to the upgrade, up to its empty line. */
static struct message next_head(const char *in, size_t length) {
    const char *end = memmem(in, length, "\r\n\r\n", 4);
    if (!end)
        return (struct message){0};
    bool good = length > 12 && !memcmp(in, "HTTP/1.1 101", 12);
    return (struct message){in, (size_t)(end - in), TEXT, (size_t)(end - in) + 4, !good};
}

static int upgrade(char *out, size_t size, const char *path, unsigned port) {
    return snprintf(out, size,
                    "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    "Sec-WebSocket-Version: 13\r\n\r\n",
                    path, port);
}

/* What posts `text` to `room`, and what carries it to a member. */
static int post_message(char *out, size_t size, const char *room, unsigned id, const char *text) {
    switch (speech) {
    case ECHOD:
        return snprintf(out, size, "SAY %s %u %s", room, id, text);
    case SOCKETIO:
        return snprintf(out, size, "42[\"say\",\"%s\"]", text);
    default:
        return snprintf(out, size, "{\"message\": \"%s\"}", text);
    }
}

static const char *const delivery_begin[] = {"MSG ", "42[\"msg\",\"", "{\"message\": \""};
static const char *const delivery_end[] = {"", "\"]", "\"}"};

static bool begins(const char *bytes, size_t length, const char *with) {
    size_t size = strlen(with);
    return length >= size && !memcmp(bytes, with, size);
}

/* The word that begins at `*at`; moves behind it and its space. NULL if there is none. */
static const char *word(const char **at, const char *end, size_t *length) {
    const char *begin = *at, *space = memchr(begin, ' ', (size_t)(end - begin));
    if (begin >= end)
        return NULL;
    *length = (size_t)((space ? space : end) - begin);
    *at = space ? space + 1 : end;
    return begin;
}
