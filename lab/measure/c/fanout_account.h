/* The fan-out generator's account: what every member of every room has got.
 *
 * Every post is kept, and its text begins with its number in its room and with the room: so a
 * delivery names the post that each of its bytes is held against. It is counted once, as
 * delivered, duplicated or wrong, and beside that as reordered. What never came is the
 * difference to `expected`.
 *
 * No socket. Included by fanout.c alone, after fanout_speech.h.
 */
#define ROOM_MAX 40     /* a room's name, which is one of ours */
#define SAMPLES_MAX 5   /* wrong messages shown on stderr: enough to see what is wrong */

enum stage { UPGRADING, OPENING, JOINING, JOINED, LOST };

struct member {
    int fd;
    enum stage stage;
    unsigned room;
    unsigned posts;       /* its own so far: the id of `SAY` */
    uint64_t offset;      /* echod: the last that it was given */
    uint32_t highest;     /* the highest number of a post that it got */
    unsigned char *got;   /* a bit for each post of its room */
    size_t partial;       /* bytes of a message that is not there whole */
    char *held;           /* those bytes */
};

struct post {
    uint64_t sent_ns;
    char text[TEXT_BYTES_MAX + 1];
};

struct room {
    char name[ROOM_MAX];
    struct post *posted;  /* by number, from 1 */
    uint32_t posts;       /* so far; the last one's number */
    uint64_t first_offset; /* echod: JOINED's, the same for all members */
    uint32_t *at_offset;  /* which post has offset first_offset + i; 0: not seen yet */
};

static struct member *members;
static struct room *rooms;
static unsigned member_count, joined;
static uint32_t room_posts_max; /* of one room in one run */
static uint64_t expected; /* deliveries, of all posts so far */

static struct {
    struct histogram latencies;  /* from the measured period on, what comes after it too; */
    uint64_t deliveries, posts;  /* of the measured period; */
    uint64_t late_ns_max;        /* of it too; from here on of the whole run */
    uint64_t delivered;
    uint64_t wrong;              /* messages nobody may send: bytes, a number, a place, an error */
    uint64_t duplicated;
    uint64_t reordered;          /* behind a later post; echod: offsets out of line */
    uint64_t acknowledged;       /* posts: SAID; peers have none */
    uint64_t closed;             /* connections that ended early */
} seen;

static void show(const char *what, const struct member *m, const char *bytes, size_t length) {
    static int shown;
    if (shown++ < SAMPLES_MAX)
        fprintf(stderr, "fanout: member %u of %s: %s: \"%.*s\"\n", (unsigned)(m - members),
                rooms[m->room].name, what, (int)length, bytes);
}

/* The room's next post. */
static const struct post *make_post(unsigned room, uint64_t sent_ns) {
    uint32_t number = ++rooms[room].posts;
    struct post *made = &rooms[room].posted[number];
    made->sent_ns = sent_ns;
    int begin = snprintf(made->text, sizeof made->text, "%08x %08x ", number, room);
    for (size_t i = (size_t)begin; i < text_bytes; i++)
        made->text[i] = (char)('a' + (i + number) % 26);
    return made;
}

/* The number that a text begins with; 0 if it is none that the room has had. */
static uint32_t number_of(const struct room *room, const char *text, size_t length) {
    static const char digits[] = "0123456789abcdef";
    uint32_t number = 0;
    if (length != text_bytes)
        return 0;
    for (int i = 0; i < 8; i++) {
        const char *digit = memchr(digits, text[i], 16);
        if (!digit)
            return 0;
        number = number << 4 | (uint32_t)(digit - digits);
    }
    return number <= room->posts ? number : 0;
}

static bool in_order(struct member *m, uint32_t number, uint64_t offset) {
    struct room *room = &rooms[m->room];
    if (speech != ECHOD) {
        bool later = number > m->highest;
        m->highest = later ? number : m->highest;
        return later;
    }
    bool next = offset == m->offset + 1;
    m->offset = offset;
    uint64_t place = offset - room->first_offset;
    if (place > room_posts_max)
        return false;
    if (!room->at_offset[place])
        room->at_offset[place] = number;
    return next && room->at_offset[place] == number;
}

static void deliver(struct member *m, const char *text, size_t length, uint64_t offset,
                    uint64_t now) {
    const struct room *room = &rooms[m->room];
    uint32_t number = number_of(room, text, length);
    if (!number || memcmp(text, room->posted[number].text, length)) {
        show("no post", m, text, length);
        seen.wrong++;
        return;
    }
    unsigned char bit = (unsigned char)(1 << number % 8);
    if (m->got[number / 8] & bit) {
        show("again", m, text, length);
        seen.duplicated++;
        return;
    }
    m->got[number / 8] |= bit;
    if (!in_order(m, number, offset)) {
        if (speech == ECHOD)
            show("out of order", m, text, length);
        seen.reordered++;
    }
    seen.delivered++;
    seen.deliveries++;
    histogram_add(&seen.latencies, now - room->posted[number].sent_ns);
}

/* `MSG <room> <offset> <sender> <text>`, or its frame. False if it is none. */
static bool take_delivery(struct member *m, const char *bytes, size_t length, uint64_t now) {
    size_t begin = strlen(delivery_begin[speech]), end = strlen(delivery_end[speech]);
    const char *at = bytes + begin, *last = bytes + length - end;
    uint64_t offset = 0;
    if (length < begin + end || memcmp(last, delivery_end[speech], end))
        return false;
    if (speech == ECHOD) {
        size_t name_length = 0, offset_length = 0, sender_length = 0;
        const char *name = word(&at, last, &name_length);
        const char *number = word(&at, last, &offset_length);
        const char *sender = word(&at, last, &sender_length);
        const char *wanted = rooms[m->room].name;
        if (!name || !number || !sender || name_length != strlen(wanted) ||
            memcmp(name, wanted, name_length))
            return false;
        offset = strtoull(number, NULL, 10);
    }
    deliver(m, at, (size_t)(last - at), offset, now);
    return true;
}
