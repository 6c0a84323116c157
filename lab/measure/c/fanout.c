/* The load generator of `fleet experiment fanout`: members of rooms on several servers, posts
 * at an even pace, and an account of every delivery.
 *
 *     connect, join ─▶ "connected" ─▶ (a line on stdin) ─▶ warm-up ─▶ "measuring" ─▶ posts
 *             ─▶ "measured" ─▶ the last deliveries ─▶ "result"
 *
 * Each word in quotes is the event of a JSON line on stdout.
 *
 * Open loop: post k is due at k / posts_per_s whatever became of the others. Posts go round the
 * rooms, and within a room round its members. Every member must get every post of its room once,
 * with every byte right; from echod also in one order for all, that of the offsets (PROTOCOL §3),
 * and without a hole.
 *
 * Latency is from sending a post to having read it at a member, so a generator that is late with
 * reading is in it: `cpu_s` tells whether it was. Deliveries that come after the measured period
 * are in it too, or a server that falls behind would be flattered. `late_ns_max` is how late
 * posts left.
 *
 * Exit: 0 all deliveries right, 1 some wrong or missing, 2 it could not be run.
 * lab/measure/fanout/measure.py is its only caller.
 */
#define _GNU_SOURCE
#include "histogram.h"
#include "fanout_settings.h"
#include "fanout_speech.h"
#include "fanout_account.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define EVENTS_MAX 512      /* a round of the loop; more are taken in the next */
#define PARTIAL_MAX 1024    /* of one message: an upgrade's answer is the longest */
#define RECEIVE_MAX 65536   /* at once from one member */
#define TIMER UINT32_MAX    /* among the events: not a member's number */

static int epoll_fd, timer_fd;
static bool posting;
static uint64_t posts_from_ns, post_count;

static void fail(const char *what) {
    fprintf(stderr, "fanout: %s: %s\n", what, strerror(errno));
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

static void *zeroes(size_t count, size_t size) {
    void *made = calloc(count, size);
    if (!made)
        fail("calloc");
    return made;
}

static void lose(struct member *m) {
    if (m->stage == JOINED)
        joined--;
    m->stage = LOST;
    close(m->fd);
}

static void send_message(struct member *m, unsigned opcode, const char *bytes, size_t length) {
    char out[PARTIAL_MAX];
    size_t size = pack(opcode, bytes, length, out);
    /* A short message once in a while: a buffer that does not take it whole is stuck. */
    if (send(m->fd, out, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) {
        show("the server does not read", m, bytes, length);
        seen.closed++;
        lose(m);
    }
}

/* Posts. */

static void post(void) {
    struct room *room = &rooms[post_count % room_count];
    unsigned turn = (unsigned)(post_count / room_count % room_members);
    struct member *m = &members[turn * room_count + post_count % room_count];
    post_count++;
    if (m->stage != JOINED || room->posts == room_posts_max)
        return;
    char message[PARTIAL_MAX];
    const struct post *made = make_post(m->room, now_ns());
    int length = post_message(message, sizeof message, room->name, ++m->posts, made->text);
    expected += room_members;
    seen.posts++;
    send_message(m, TEXT, message, (size_t)length);
}

static uint64_t due_ns(void) {
    return posts_from_ns + (uint64_t)((double)post_count * NS_PER_S / posts_per_s);
}

static void set_timer(uint64_t at_ns) {
    struct itimerspec when = {.it_value = {(time_t)(at_ns / NS_PER_S), (long)(at_ns % NS_PER_S)}};
    if (timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL))
        fail("timerfd_settime");
}

static void post_due(void) {
    uint64_t late, expirations;
    if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
        fail("timerfd");
    while (posting && due_ns() <= now_ns()) {
        late = now_ns() - due_ns();
        if (late > seen.late_ns_max)
            seen.late_ns_max = late;
        post();
    }
    if (posting)
        set_timer(due_ns());
}

static void unexpected(struct member *m, const char *bytes, size_t length) {
    show("unexpected", m, bytes, length);
    seen.wrong++;
    lose(m);
}

/* Joining. */

static void join_now(struct member *m) {
    m->stage = JOINED;
    joined++;
}

/* `JOINED <room> <epoch> <offset> fresh`: the room is as new as its name. */
static void take_position(struct member *m, const char *bytes, size_t length) {
    const char *at = bytes, *end = bytes + length, *offset = NULL;
    size_t size;
    for (int i = 0; i < 4; i++)
        offset = word(&at, end, &size);
    if (!offset || !begins(bytes, length, "JOINED ")) {
        unexpected(m, bytes, length);
        return;
    }
    m->offset = rooms[m->room].first_offset = strtoull(offset, NULL, 10);
    join_now(m);
}

static void say_format(struct member *m, const char *format, const char *room) {
    char message[PARTIAL_MAX];
    int length = snprintf(message, sizeof message, format, room);
    send_message(m, TEXT, message, (size_t)length);
}

/* What the server said before the member is in its room. */
static void take_opening(struct member *m, const char *bytes, size_t length) {
    const char *room = rooms[m->room].name;
    if (speech == ECHOD && m->stage == OPENING && begins(bytes, length, "WELCOME ")) {
        say_format(m, "JOIN %s", room);
        m->stage = JOINING;
    } else if (speech == ECHOD && m->stage == JOINING) {
        take_position(m, bytes, length);
    } else if (m->stage == UPGRADING && speech == CHANNELS) {
        join_now(m); /* the consumer accepts when it has joined its group */
    } else if (m->stage == UPGRADING) {
        m->stage = OPENING;
    } else if (m->stage == OPENING && begins(bytes, length, "0{")) {
        send_message(m, TEXT, "40", 2);
    } else if (m->stage == OPENING && begins(bytes, length, "40")) {
        say_format(m, "420[\"join\",\"%s\"]", room);
        m->stage = JOINING;
    } else if (m->stage == JOINING && begins(bytes, length, "430")) {
        join_now(m);
    } else {
        unexpected(m, bytes, length);
    }
}

static void take(struct member *m, const struct message *message, uint64_t now) {
    const char *bytes = message->bytes;
    size_t length = message->length;
    if (message->opcode == PING)
        send_message(m, PONG, bytes, length);
    else if (message->opcode != TEXT)
        unexpected(m, bytes, length);
    else if (speech == SOCKETIO && length == 1 && *bytes == '2' && m->stage != UPGRADING)
        send_message(m, TEXT, "3", 1); /* Engine.IO's own ping */
    else if (m->stage != JOINED)
        take_opening(m, bytes, length);
    else if (speech == ECHOD && begins(bytes, length, "SAID "))
        seen.acknowledged++;
    else if (!begins(bytes, length, delivery_begin[speech]) ||
             !take_delivery(m, bytes, length, now))
        unexpected(m, bytes, length);
}

static struct message next(const struct member *m, const char *in, size_t length) {
    if (speech == ECHOD)
        return next_line(in, length);
    return m->stage == UPGRADING ? next_head(in, length) : next_frame(in, length);
}

static void receive(struct member *m) {
    static char in[PARTIAL_MAX + RECEIVE_MAX];
    if (m->stage == LOST)
        return; /* earlier in this round of events */
    memcpy(in, m->held, m->partial);
    ssize_t got = recv(m->fd, in + m->partial, RECEIVE_MAX, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        show("closed", m, in, m->partial);
        seen.closed++;
        lose(m);
        return;
    }
    uint64_t now = now_ns();
    size_t length = m->partial + (size_t)got, at = 0;
    while (m->stage != LOST) {
        struct message message = next(m, in + at, length - at);
        if (message.broken) {
            unexpected(m, in + at, length - at);
            return;
        }
        if (!message.consumed)
            break;
        take(m, &message, now);
        at += message.consumed;
    }
    m->partial = length - at;
    if (m->partial > PARTIAL_MAX)
        unexpected(m, in + at, PARTIAL_MAX);
    else
        memcpy(m->held, in + at, m->partial);
}

/* The run. */

static void turn(int timeout_ms) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(epoll_fd, events, EVENTS_MAX, timeout_ms);
    if (n < 0 && errno != EINTR)
        fail("epoll_wait");
    for (int i = 0; i < n; i++)
        if (events[i].data.u32 == TIMER)
            post_due();
        else
            receive(&members[events[i].data.u32]);
}

static void run(double run_s) {
    uint64_t end = now_ns() + (uint64_t)(run_s * NS_PER_S), now;
    while ((now = now_ns()) < end)
        turn((int)((end - now) / 1000000) + 1);
}

static bool all_there(void) {
    return seen.delivered + seen.duplicated >= expected &&
           (speech != ECHOD || seen.acknowledged >= expected / room_members);
}

static void drain(void) {
    uint64_t end = now_ns() + (uint64_t)(answer_s_max * NS_PER_S);
    posting = false;
    while (!all_there() && now_ns() < end)
        turn(10);
}

static void open_member(unsigned number) {
    struct member *m = &members[number];
    m->room = number % room_count;
    /* A room's members go round the servers; so do the rooms' first ones. */
    unsigned port = ports[(m->room + number / room_count) % port_count];
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    m->got = zeroes(room_posts_max / 8 + 1, 1);
    m->held = zeroes(PARTIAL_MAX, 1);
    m->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->fd < 0)
        fail("socket (see ulimit -n)");
    if (connect(m->fd, (const struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, m->fd, &event))
        fail("epoll_ctl");
    if (speech == ECHOD) {
        m->stage = OPENING;
        send_message(m, TEXT, "HELLO", 5);
        return;
    }
    char path[PARTIAL_MAX], out[PARTIAL_MAX];
    snprintf(path, sizeof path, "/ws/%s/", rooms[m->room].name);
    int length = upgrade(out, sizeof out,
                         speech == SOCKETIO ? "/socket.io/?EIO=4&transport=websocket" : path, port);
    if (send(m->fd, out, (size_t)length, MSG_NOSIGNAL) != length)
        fail("send");
}

static void join_all(void) {
    uint64_t end = now_ns() + (uint64_t)(join_s_max * NS_PER_S);
    unsigned opened = 0;
    while (joined < member_count && !seen.wrong && !seen.closed && now_ns() < end) {
        while (opened < member_count && opened - joined < joining_max)
            open_member(opened++);
        turn(10);
    }
    if (joined < member_count) {
        fprintf(stderr, "fanout: %u of %u members joined\n", joined, member_count);
        exit(2);
    }
    say("connected");
}

static void measure(void) {
    histogram_clear(&seen.latencies);
    seen.deliveries = seen.posts = seen.late_ns_max = 0;
    say("measuring");
    uint64_t start = now_ns();
    double cpu_s_before = cpu_s();
    run(seconds);
    double measured_s = (double)(now_ns() - start) / NS_PER_S;
    double used_s = cpu_s() - cpu_s_before;
    uint64_t deliveries = seen.deliveries, posts = seen.posts, late_ns = seen.late_ns_max;
    say("measured");
    drain();
    uint64_t acknowledged = speech == ECHOD ? seen.acknowledged : expected / room_members;
    printf("{\"event\": \"result\", \"deliveries\": %llu, \"posts\": %llu, \"seconds\": %.6f, "
           "\"cpu_s\": %.6f, \"late_ns_max\": %llu, \"wrong\": %llu, \"duplicated\": %llu, "
           "\"reordered\": %llu, \"missing\": %llu, \"unacknowledged\": %llu, \"closed\": %llu, "
           "\"histogram_ns\": ",
           (unsigned long long)deliveries, (unsigned long long)posts, measured_s, used_s,
           (unsigned long long)late_ns, (unsigned long long)seen.wrong,
           (unsigned long long)seen.duplicated, (unsigned long long)seen.reordered,
           (unsigned long long)(expected - seen.delivered),
           (unsigned long long)(expected / room_members - acknowledged),
           (unsigned long long)seen.closed);
    histogram_print(&seen.latencies);
    printf("}\n");
    fflush(stdout);
}

static void make_rooms(void) {
    double posts = posts_per_s * (warm_up_s + seconds) / room_count;
    room_posts_max = (uint32_t)posts + 8;
    rooms = zeroes(room_count, sizeof *rooms);
    for (unsigned i = 0; i < room_count; i++) {
        /* A name that no earlier run had: its room has no history. */
        snprintf(rooms[i].name, ROOM_MAX, "f%llx-%u", (unsigned long long)now_ns() / 1000, i);
        rooms[i].posted = zeroes(room_posts_max + 1, sizeof *rooms[i].posted);
        rooms[i].at_offset = zeroes(room_posts_max + 1, sizeof *rooms[i].at_offset);
    }
}

/* One descriptor a member; the hard limit is somebody else's decision. */
static void raise_open_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit))
        fail("setrlimit");
}

int main(int argc, char **argv) {
    char line[16];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = TIMER};
    parse(argc, argv);
    raise_open_files();
    member_count = room_count * room_members;
    members = zeroes(member_count, sizeof *members);
    make_rooms();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (epoll_fd < 0 || timer_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event))
        fail("epoll_create1, timerfd_create");
    join_all();
    if (!fgets(line, sizeof line, stdin))
        return 0;
    posting = true;
    posts_from_ns = now_ns();
    set_timer(posts_from_ns + 1);
    run(warm_up_s);
    measure();
    return seen.wrong || seen.duplicated || seen.delivered < expected || seen.closed ||
           (speech == ECHOD && (seen.reordered || !all_there()));
}
