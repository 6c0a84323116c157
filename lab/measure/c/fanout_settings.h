/* What the fan-out generator is told: `--name value` pairs, and the limits of each.
 *
 * Included by fanout.c alone. lab/measure/fanout/measure.py gives them, under the same names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PORTS_MAX 64      /* server processes: as many as `fleet experiment` starts */
#define TEXT_BYTES_MIN 32 /* the two numbers that a text begins with, and some filling */
#define TEXT_BYTES_MAX 100 /* with what is around it, a WebSocket frame of a short length */

enum speech { ECHOD, SOCKETIO, CHANNELS };
static const char *const speech_names[] = {"echod", "socketio", "channels"};

/* Defaults are for use by hand: generator.py gives every one. */
static double rooms_wanted = 1, members_wanted = 20, posts_per_s = 10, text_bytes_wanted = 64;
static double warm_up_s = 0.5, seconds = 2;
static double joining_max = 32;     /* members on their way in at once: no server is flooded */
static double join_s_max = 60;      /* until every member is in its room */
static double answer_s_max = 10;    /* a delivery that comes later is missing */

static const struct {
    const char *name;
    double *value, min, max;
} numbers[] = {
    {"--rooms", &rooms_wanted, 1, 10000},
    {"--members", &members_wanted, 1, 10000}, /* of each room */
    {"--posts-per-s", &posts_per_s, 0.1, 1e5}, /* of all rooms together */
    {"--text-bytes", &text_bytes_wanted, TEXT_BYTES_MIN, TEXT_BYTES_MAX},
    {"--warm-up-s", &warm_up_s, 0, 600},
    {"--seconds", &seconds, 0.01, 600},
    {"--joining-max", &joining_max, 1, 10000},
    {"--answer-s-max", &answer_s_max, 0.01, 600},
    {"--join-s-max", &join_s_max, 0.01, 600},
};

static enum speech speech = ECHOD;
static unsigned ports[PORTS_MAX], port_count;

/* The three that are counts. */
static unsigned room_count, room_members;
static size_t text_bytes;

static void refuse(const char *name, const char *text, const char *why) {
    fprintf(stderr, "fanout: %s %s: %s\n", name, text, why);
    exit(2);
}

static void set_ports(const char *text) {
    const char *at = text;
    for (;;) {
        char *end;
        unsigned long port = strtoul(at, &end, 10);
        if (end == at || port < 1 || port > 65535 || port_count == PORTS_MAX)
            refuse("--ports", text, "must be up to 64 ports, as in 1235,1236");
        ports[port_count++] = (unsigned)port;
        if (!*end)
            return;
        if (*end != ',')
            refuse("--ports", text, "must be ports with commas between them");
        at = end + 1;
    }
}

static void set_speech(const char *text) {
    for (size_t i = 0; i < sizeof speech_names / sizeof *speech_names; i++)
        if (!strcmp(text, speech_names[i])) {
            speech = (enum speech)i;
            return;
        }
    refuse("--speech", text, "must be echod, socketio or channels");
}

static void set_number(const char *name, const char *text) {
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name))
            continue;
        char *end;
        double value = strtod(text, &end);
        if (*end || end == text || !(value >= numbers[i].min && value <= numbers[i].max)) {
            fprintf(stderr, "fanout: %s %s: must be %g to %g\n", name, text, numbers[i].min,
                    numbers[i].max);
            exit(2);
        }
        *numbers[i].value = value;
        return;
    }
    refuse(name, text, "no such setting");
}

static void parse(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--ports"))
            set_ports(argv[i + 1]);
        else if (!strcmp(argv[i], "--speech"))
            set_speech(argv[i + 1]);
        else
            set_number(argv[i], argv[i + 1]);
    }
    if (argc % 2 == 0 || !port_count) {
        fprintf(stderr, "usage: fanout --ports PORT,... --speech echod|socketio|channels"
                        " [--NAME NUMBER]...\n");
        exit(2);
    }
    room_count = (unsigned)rooms_wanted;
    room_members = (unsigned)members_wanted;
    text_bytes = (size_t)text_bytes_wanted;
}
