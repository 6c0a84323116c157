/* The load generator of `fleet bench`: N connections, one line in flight on each, every byte
 * of every reply checked against PROTOCOL §1.1 (the previous line followed by this line) or,
 * with --session 1, §2.2 (both, numbered; each connection opens a session of its own).
 *
 *     connect ─▶ "connected" ─▶ (a line on stdin) ─▶ warm-up ─▶ "measuring" ─▶ load
 *             ─▶ "measured" ─▶ last replies ─▶ "result"
 *
 * Each word in quotes is the event of a JSON line on stdout. End of file on stdin instead of
 * a line ends the program: connections are held idle while somebody reads the server's memory.
 *
 * Closed loop (--interval-s 0): the next line leaves when the reply has come, and latency is
 * counted from that moment. Paced (--interval-s S): each connection has a line due every S
 * seconds, spread evenly, and latency is counted from when the line was due, so a server that
 * stalls is charged for the lines that it kept from being sent.
 *
 * Exit: 0 all replies right, 1 some wrong or missing, 2 it could not be run.
 * lab/measure/generator.py is its only caller.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include "settings.h"
#include "dialogue.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define EVENTS_MAX 512 /* a round of the loop; more are taken in the next */
#define TICK_MS 1      /* how late a paced line may leave; counted in its latency */
#define SAMPLES_MAX 3  /* wrong replies shown on stderr: enough to see what is wrong */

struct connection {
    int fd;           /* -1 when lost */
    bool waiting;     /* a line is unanswered */
    bool greeting;    /* that line is HELLO */
    bool served;      /* answered at least once */
    unsigned overdue; /* paced: lines that became due while one was unanswered */
    uint64_t from_ns; /* what the reply's latency is counted from */
    char *token;      /* of the session that it resumes; NULL: it opens one */
    struct dialogue said;
};

static struct connection *connections;
static int epoll_fd;
static bool sending;                 /* closed loop: answered connections send again */
static unsigned waiting, served;     /* how many connections are */
static uint64_t paced_from_ns, tick; /* paced: when it began, lines that became due since */

static struct {
    uint64_t round_trips; /* of the measured period, as the latencies are */
    struct histogram latencies;
    uint64_t wrong;       /* from the first line on: replies of other bytes than expected, */
    uint64_t error_lines; /* `ERR …` in a reply's place (PROTOCOL §4), */
    uint64_t closed;      /* connections that ended early, */
    uint64_t unanswered;  /* lines without a whole reply answer_s_max after the end */
} seen;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void say(const char *event) {
    printf("{\"event\": \"%s\"}\n", event);
    fflush(stdout);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static double cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void lose(struct connection *c, uint64_t *reason) {
    ++*reason;
    close(c->fd);
    c->fd = -1;
    if (c->waiting)
        waiting--;
    c->waiting = false;
}

static void say_bytes(struct connection *c, const char *bytes, size_t length) {
    c->waiting = true;
    waiting++;
    /* All earlier bytes were answered, so the kernel takes these whole. */
    if (send(c->fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length)
        lose(c, &seen.closed);
}

static void send_line(struct connection *c, uint64_t from_ns) {
    struct dialogue *d = &c->said;
    next_line(d);
    c->from_ns = from_ns;
    say_bytes(c, d->expected + d->line_at, d->length - d->line_at);
}

static void send_hello(struct connection *c) {
    char hello[TOKEN_BYTES_MAX + 8] = HELLO;
    if (c->token)
        snprintf(hello, sizeof hello, "HELLO %s\n", c->token);
    c->greeting = true;
    say_bytes(c, hello, strlen(hello));
}

static void answered(struct connection *c) {
    uint64_t now = now_ns();
    seen.round_trips++;
    histogram_add(&seen.latencies, now - c->from_ns);
    c->waiting = false;
    waiting--;
    served += !c->served;
    c->served = true;
    if (c->overdue) {
        c->overdue--;
        send_line(c, c->from_ns + (uint64_t)(interval_s * NS_PER_S));
    } else if (sending && interval_s == 0) {
        send_line(c, now);
    }
}

static void lose_wrong(struct connection *c, const char *got, size_t length) {
    static int shown;
    const struct dialogue *d = &c->said;
    if (shown++ < SAMPLES_MAX)
        fprintf(stderr,
                "load: connection %u, line %llu: got \"%.*s\" at byte %zu of \"%.*s\"\n",
                (unsigned)(c - connections), (unsigned long long)d->lines, (int)length, got,
                d->matched, (int)d->length, d->expected);
    bool error_line = length >= 4 && !memcmp(got, "ERR ", 4);
    lose(c, error_line ? &seen.error_lines : &seen.wrong);
}

static void welcomed(struct connection *c, const char *got, size_t length) {
    if (length < WELCOME_BYTES_MAX && got[length - 1] != '\n')
        return; /* the rest is to come; it was only looked at */
    if (!is_welcome(got, length, c->token)) {
        lose_wrong(c, got, length);
        return;
    }
    recv(c->fd, (char[WELCOME_BYTES_MAX]){0}, length, MSG_DONTWAIT);
    c->greeting = c->waiting = false;
    waiting--;
}

static void receive(struct connection *c) {
    /* One byte more than any reply: shows a surplus. */
    static char got[2 * (VERB_BYTES_MAX + LINE_BYTES_MAX) + 1];
    if (c->fd < 0)
        return; /* lost earlier in this round of events */
    ssize_t length = recv(c->fd, got, sizeof got, MSG_DONTWAIT | (c->greeting ? MSG_PEEK : 0));
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        lose(c, &seen.closed);
        return;
    }
    if (c->greeting) {
        welcomed(c, got, (size_t)length);
        return;
    }
    struct dialogue *d = &c->said;
    size_t missing = c->waiting ? d->length - d->matched : 0;
    if ((size_t)length > missing || memcmp(got, d->expected + d->matched, (size_t)length)) {
        lose_wrong(c, got, (size_t)length);
        return;
    }
    d->matched += (size_t)length;
    if ((size_t)length == missing)
        answered(c);
}

static void turn(int timeout_ms) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(epoll_fd, events, EVENTS_MAX, timeout_ms);
    if (n < 0 && errno != EINTR)
        fail("epoll_wait");
    for (int i = 0; i < n; i++)
        receive(&connections[events[i].data.u32]);
}

/* Paced: send what is due by now. Due times go round the connections in their order. */
static void send_due(uint64_t now) {
    uint64_t interval_ns = (uint64_t)(interval_s * NS_PER_S);
    for (;; tick++) {
        uint64_t due = paced_from_ns + tick * interval_ns / connection_count;
        if (due > now)
            return;
        struct connection *c = &connections[tick % connection_count];
        if (c->waiting)
            c->overdue++;
        else if (c->fd >= 0)
            send_line(c, due);
    }
}

/* Run so long; with `all_served`, longer if some connection was not answered yet. */
static void run(double run_s, bool all_served) {
    uint64_t end = now_ns() + (uint64_t)(run_s * NS_PER_S), now;
    uint64_t patience = end + (uint64_t)(answer_s_max * NS_PER_S);
    bool paced = interval_s > 0;
    while ((now = now_ns()) < end ||
           (all_served && served < connection_count && now < patience)) {
        if (paced)
            send_due(now);
        turn(paced ? TICK_MS : 10);
    }
}

/* Let nothing more become due and wait for what is unanswered. */
static void drain(void) {
    uint64_t end = now_ns() + (uint64_t)(answer_s_max * NS_PER_S);
    sending = false;
    while (waiting && now_ns() < end)
        turn(10);
    for (unsigned i = 0; i < connection_count; i++)
        if (connections[i].waiting)
            seen.unanswered += 1 + connections[i].overdue;
}

static void open_connection(struct connection *c, const struct sockaddr_in *address) {
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket (see ulimit -n)");
    if (connect(c->fd, (const struct sockaddr *)address, sizeof *address))
        fail(errno == EADDRNOTAVAIL ? "connect (net.ipv4.ip_local_port_range is used up)"
                                    : "connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->said.expected = malloc(expected_bytes_max());
    if (!c->said.expected)
        fail("malloc");
    begin_dialogue(&c->said, (unsigned)(c - connections));
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)(c - connections)};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        fail("epoll_ctl");
}

/* A line of stdin for each connection, before any connects. */
static void read_tokens(void) {
    for (unsigned i = 0; i < connection_count; i++) {
        char line[TOKEN_BYTES_MAX + 2];
        if (!fgets(line, sizeof line, stdin) || !strchr(line, '\n')) {
            fprintf(stderr, "load: there is no token for connection %u on stdin\n", i);
            exit(2);
        }
        line[strcspn(line, "\n")] = '\0';
        connections[i].token = strdup(line);
        if (!connections[i].token)
            fail("strdup");
    }
}

/* Connect at the given pace, open the sessions, then see the last one answered: by then,
 * accepting being in order, the server has accepted them all and its memory may be read. */
static void connect_all(void) {
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    uint64_t start = now_ns();
    for (unsigned i = 0; i < connection_count; i++) {
        uint64_t due = start + (uint64_t)(i * (double)NS_PER_S / connects_per_s);
        while (now_ns() < due)
            usleep(1000);
        open_connection(&connections[i], &address);
        if (session) {
            send_hello(&connections[i]);
            turn(0);
        }
    }
    drain();
    if (connections[connection_count - 1].fd >= 0)
        send_line(&connections[connection_count - 1], now_ns());
    drain();
    if (seen.unanswered || seen.closed || seen.wrong || seen.error_lines) {
        fprintf(stderr, "load: %s was not answered\n",
                session ? "HELLO or the first line" : "the first line");
        exit(2);
    }
    say("connected");
}

static bool told_to_go(void) {
    char line[16];
    return fgets(line, sizeof line, stdin) != NULL;
}

static void begin(void) {
    sending = true;
    paced_from_ns = now_ns();
    if (interval_s == 0)
        for (unsigned i = 0; i < connection_count; i++)
            if (connections[i].fd >= 0)
                send_line(&connections[i], now_ns());
}

/* Latencies of the warm-up are forgotten; a wrong reply in it is not. */
static void measure(void) {
    histogram_clear(&seen.latencies);
    seen.round_trips = 0;
    say("measuring");
    uint64_t start = now_ns();
    double cpu_s_before = cpu_s();
    run(seconds, false);
    double measured_s = (double)(now_ns() - start) / NS_PER_S;
    double used_s = cpu_s() - cpu_s_before;
    uint64_t round_trips = seen.round_trips;
    say("measured");
    drain();
    printf("{\"event\": \"result\", \"round_trips\": %llu, \"seconds\": %.6f, \"cpu_s\": %.6f, "
           "\"wrong\": %llu, \"error_lines\": %llu, \"closed\": %llu, \"unanswered\": %llu, "
           "\"latency_ns_max\": %llu, \"histogram_ns\": ",
           (unsigned long long)round_trips, measured_s, used_s, (unsigned long long)seen.wrong,
           (unsigned long long)seen.error_lines, (unsigned long long)seen.closed,
           (unsigned long long)seen.unanswered, (unsigned long long)seen.latencies.ns_max);
    histogram_print(&seen.latencies);
    printf("}\n");
    fflush(stdout);
}

/* One descriptor a connection; the hard limit is somebody else's decision. */
static void raise_open_files(void) {
    rlim_t needed = connection_count + 16;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max < needed) {
        fprintf(stderr, "load: %u connections need ulimit -Hn %llu; it is %llu\n",
                connection_count, (unsigned long long)needed,
                (unsigned long long)limit.rlim_max);
        exit(2);
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        fail("setrlimit");
}

int main(int argc, char **argv) {
    parse(argc, argv);
    raise_open_files();
    connections = calloc(connection_count, sizeof *connections);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || epoll_fd < 0)
        fail("epoll_create1");
    if (resume)
        read_tokens();
    connect_all();
    if (!told_to_go())
        return 0;
    begin();
    run(warm_up_s, true);
    measure();
    return seen.wrong || seen.error_lines || seen.closed || seen.unanswered ? 1 : 0;
}
