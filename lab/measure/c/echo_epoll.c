/* The floor of `fleet bench`: the least that the plain port (PROTOCOL §1) costs on this kernel.
 *
 * One thread, one epoll, level-triggered, one recv per event, no store. Every line is
 * answered by the connection's previous line followed by this line; lines may come split
 * anywhere or many to a segment; at half-close an unterminated tail is a last line.
 * While a reply waits for its reader, that connection is not read: its memory is bounded.
 *
 * Not a daemon: no idle limit, no cap, no drain. lab/measure/bench/rows.py starts it; port 0 is the
 * kernel's choice, and the ready line on stdout says which it was.
 */
#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LINE_BYTES_MAX 8192 /* PROTOCOL's table, the LF included */
#define RECV_BYTES 65536    /* one recv; more than a reader of short lines ever has waiting */
#define EVENTS_MAX 512      /* a round of the loop; more are simply taken in the next */
#define ACCEPTS_MAX 64      /* connections taken per event, so that clients get their turn */
#define BACKLOG 4096        /* a burst of 5,000 paced connects never waits for a SYN again */

struct bytes {
    char *data;
    size_t length, capacity;
};

struct connection {
    int fd;
    bool closing;          /* close when `out` has left */
    struct bytes previous; /* the line before, with its LF */
    struct bytes partial;  /* a line whose LF has not come yet */
    struct bytes out;      /* what the kernel did not take; empty nearly always */
};

static int epoll_fd;

/* Input is read behind a copy of `partial`, so that every line is contiguous. */
static char input[LINE_BYTES_MAX + RECV_BYTES];

/* Each input byte is sent at most twice (as a line, as the next one's previous), plus the
 * previous line that was there before and one ERR line. */
static char output[2 * sizeof input + LINE_BYTES_MAX + 256];
static size_t output_length;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void keep(struct bytes *kept, const char *data, size_t length) {
    if (length > kept->capacity) {
        size_t capacity = kept->capacity ? kept->capacity : 64;
        while (capacity < length)
            capacity *= 2;
        free(kept->data);
        kept->data = malloc(capacity);
        if (!kept->data)
            fail("malloc");
        kept->capacity = capacity;
    }
    if (length)
        memcpy(kept->data, data, length);
    kept->length = length;
}

static void put(const char *data, size_t length) {
    if (length)
        memcpy(output + output_length, data, length);
    output_length += length;
}

static void forget(struct connection *c) {
    close(c->fd); /* also takes it out of the epoll */
    free(c->previous.data);
    free(c->partial.data);
    free(c->out.data);
    free(c);
}

static void watch(struct connection *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        fail("epoll_ctl");
}

/* Send what there is; returns how much the kernel took, or -1 if the client is gone. */
static ssize_t send_some(struct connection *c, const char *data, size_t length) {
    ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return sent;
}

/* Send `output`; keep the rest and wait for room, without reading meanwhile. */
static void flush(struct connection *c) {
    ssize_t sent = 0;
    if (output_length && (sent = send_some(c, output, output_length)) < 0) {
        forget(c);
    } else if ((size_t)sent < output_length) {
        keep(&c->out, output + sent, output_length - (size_t)sent);
        watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    } else if (c->closing) {
        forget(c);
    }
}

static void writable(struct connection *c) {
    ssize_t sent = send_some(c, c->out.data, c->out.length);
    if (sent < 0) {
        forget(c);
        return;
    }
    c->out.length -= (size_t)sent;
    memmove(c->out.data, c->out.data + sent, c->out.length);
    if (c->out.length)
        return;
    if (c->closing)
        forget(c);
    else
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

/* Answer the complete lines in input[0..end); returns where the unfinished one begins. */
static size_t answer_lines(struct connection *c, size_t end) {
    const char *previous = c->previous.data;
    size_t previous_length = c->previous.length, start = 0;
    const char *lf;

    while ((lf = memchr(input + start, '\n', end - start))) {
        size_t length = (size_t)(lf - (input + start)) + 1;
        if (length > LINE_BYTES_MAX)
            break;
        put(previous, previous_length);
        put(input + start, length);
        previous = input + start;
        previous_length = length;
        start += length;
    }
    if (start)
        keep(&c->previous, previous, previous_length);
    return start;
}

static void readable(struct connection *c) {
    size_t had = c->partial.length;
    if (had)
        memcpy(input, c->partial.data, had);
    ssize_t received = recv(c->fd, input + had, RECV_BYTES, 0);
    if (received < 0) {
        if (errno != EAGAIN && errno != EINTR)
            forget(c);
        return;
    }
    size_t end = had + (size_t)received;
    output_length = 0;
    size_t start = answer_lines(c, end);

    if (received == 0) { /* half-close, §1.4: the tail is a last line, without an LF */
        if (start < end) {
            put(c->previous.data, c->previous.length);
            put(input + start, end - start);
        }
        c->closing = true;
    } else if (end - start >= LINE_BYTES_MAX) { /* §4; its LF would make it longer still */
        static const char error[] = "ERR line-too-long a line is at most 8192 bytes\n";
        put(error, sizeof error - 1);
        c->closing = true;
    } else {
        keep(&c->partial, input + start, end - start);
    }
    flush(c);
}

static void accept_some(int listener) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                return;
            fail("accept"); /* EMFILE too: a bench that lost a client must not go on */
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (!c)
            fail("calloc");
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Listen on loopback and say where, as one JSON line. */
static int listen_at(unsigned short port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t length = sizeof address;
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) ||
        listen(listener, BACKLOG) || getsockname(listener, (struct sockaddr *)&address, &length))
        fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event))
        fail("epoll_ctl");
    printf("{\"event\": \"ready\", \"echo\": \"127.0.0.1:%d\"}\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "--port")) {
        fprintf(stderr, "usage: echo_epoll --port PORT\n");
        return 2;
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll_create1");
    int listener = listen_at((unsigned short)atoi(argv[2]));

    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                accept_some(listener);
            else if (c->out.length) /* then only EPOLLOUT is watched, or the client is gone */
                writable(c);
            else
                readable(c);
        }
    }
}
