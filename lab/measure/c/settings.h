/* What the load generator is told: `--name number` pairs, and the limits of each.
 *
 * Included by load.c alone. lab/measure/generator.py gives them, under the same names.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES_MIN 32   /* the two numbers that make each line unlike every other */
#define LINE_BYTES_MAX 8192 /* PROTOCOL's table; also sure to fit an empty socket buffer */
#define VERB_BYTES_MAX 32   /* session port: `ECHO `, 64 bits' 20 digits, a blank, and some */

/* Defaults are for use by hand: generator.py gives every one. */
static double port, connections_wanted = 100, line_bytes_wanted = 64;
static double warm_up_s = 0.5, seconds = 2;
static double interval_s = 0;        /* 0: closed loop */
static double connects_per_s = 5000; /* a listener with a backlog of 100 keeps up */
static double answer_s_max = 10;     /* a reply that comes later is a failure */
static double session = 0;           /* 0: the plain port's protocol; 1: the session port's */
static double resume = 0;            /* 1: sessions whose tokens are the first lines on stdin */

static const struct {
    const char *name;
    double *value, min, max;
} settings[] = {
    {"--port", &port, 1, 65535},
    {"--connections", &connections_wanted, 1, 1e6},
    {"--line-bytes", &line_bytes_wanted, LINE_BYTES_MIN, LINE_BYTES_MAX},
    {"--warm-up-s", &warm_up_s, 0, 3600},
    {"--seconds", &seconds, 0.01, 3600},
    {"--interval-s", &interval_s, 0, 3600},
    {"--connects-per-s", &connects_per_s, 1, 1e6},
    {"--answer-s-max", &answer_s_max, 0.01, 3600},
    {"--session", &session, 0, 1},
    {"--resume", &resume, 0, 1},
};

/* The two that are counts. */
static unsigned connection_count;
static size_t line_bytes;

static void set(const char *name, const char *text) {
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcmp(name, settings[i].name))
            continue;
        char *end;
        double value = strtod(text, &end);
        if (*end || end == text || !(value >= settings[i].min && value <= settings[i].max)) {
            fprintf(stderr, "load: %s %s: must be %g to %g\n", name, text, settings[i].min,
                    settings[i].max);
            exit(2);
        }
        *settings[i].value = value;
        return;
    }
    fprintf(stderr, "load: %s: no such setting\n", name);
    exit(2);
}

static void parse(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2)
        set(argv[i], argv[i + 1]);
    if (argc % 2 == 0 || !port) {
        fprintf(stderr, "usage: load --port PORT [--NAME NUMBER]...\n");
        exit(2);
    }
    connection_count = (unsigned)connections_wanted;
    line_bytes = (size_t)line_bytes_wanted;
    if (session && line_bytes + VERB_BYTES_MAX > LINE_BYTES_MAX) {
        fprintf(stderr, "load: --line-bytes %zu: must be %d to %d on the session port\n",
                line_bytes, LINE_BYTES_MIN, LINE_BYTES_MAX - VERB_BYTES_MAX);
        exit(2);
    }
}
