/* Both ends of `bench gateway`: a server that answers as an OpenAI server would, and a client that loads it.
 *
 *   gateway_traffic serve PORT
 *   gateway_traffic load PORT REQUESTS CONNECTIONS SECONDS RATE
 *
 * In C, because a client and a server in Python take more CPU for a request than what is measured, and one core has to
 * hold both. One thread, epoll, HTTP/1.1 on loopback, and no more of it than the proxies between them use. REQUESTS is a
 * file of whole requests, each behind its length and a newline; they are sent in turn, each time with other letters in
 * place of MARK, for a proxy may remember what it made of a text. RATE is requests a second, whose
 * times count from the moment at which they are due, whether the proxy keeps up or not; 0 sends the next one when the
 * last is answered. The client prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CHUNKS = 50, SPACE = 128 * 1024, MOST_EVENTS = 256, MOST_TIMES = 4 << 20 };
static const uint64_t GAP = 20 * 1000000ull;   /* between two chunks of a stream, ns */
static const uint64_t GRACE = 5 * 1000000000ull; /* for answers after the last request, ns */

struct connection {
    int fd;
    int busy;
    size_t have;
    uint64_t due;   /* client: when the request had to leave; server: when the next chunk has to */
    uint64_t first; /* client: when the first byte of the body came, 0 before */
    int sent;       /* server: chunks of the stream so far */
    struct connection *next;
    char data[SPACE];
};

static int poller, ticker;
static struct connection timer; /* only its address counts */

static void die(const char *what) { perror(what); exit(1); }

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void watch(int fd, struct connection *connection) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on what is no socket, and may */
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static void wake_at(uint64_t when) {
    struct itimerspec timing = {.it_value = {when / 1000000000, when % 1000000000}};
    timerfd_settime(ticker, TFD_TIMER_ABSTIME, &timing, NULL);
}

static struct connection *new_connection(int fd) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) die("calloc");
    connection->fd = fd;
    watch(fd, connection);
    return connection;
}

/* The value of a header whose name is written with its colon, or NULL. */
static const char *header(const char *head, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *line = head; line && line < end; line = memchr(line, '\n', end - line)) {
        line += *line == '\n';
        if (end - line > (long)length && !strncasecmp(line, name, length)) return line + length;
    }
    return NULL;
}

/* server ---------------------------------------------------------------------------------------------------------- */

static struct connection *streams; /* by due */

static void later(struct connection *stream) {
    struct connection **place = &streams;
    while (*place && (*place)->due <= stream->due) place = &(*place)->next;
    stream->next = *place;
    *place = stream;
}

static void forget(struct connection *connection) {
    for (struct connection **place = &streams; *place; place = &(*place)->next)
        if (*place == connection) { *place = connection->next; break; }
    close(connection->fd);
    free(connection);
}

static void say(struct connection *connection, const char *text, size_t length) {
    /* What does not go out at once on loopback has no reader any more. */
    if (send(connection->fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) shutdown(connection->fd, SHUT_RDWR);
}

static void chunk(struct connection *stream) {
    char event[512], text[600];
    int last = ++stream->sent == CHUNKS;
    snprintf(event, sizeof event,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\"choices\":"
        "[{\"index\":0,\"delta\":{\"content\":\" word\"},\"finish_reason\":null}]%s}\n\n%s",
        last ? ",\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":50,\"total_tokens\":300}" : "",
        last ? "data: [DONE]\n\n" : "");
    int length = snprintf(text, sizeof text, "%zx\r\n%s\r\n%s", strlen(event), event, last ? "0\r\n\r\n" : "");
    stream->due += GAP;
    if (!last) later(stream);
    say(stream, text, length);
}

static void answer(struct connection *connection, const char *body, size_t length) {
    static const char HEAD[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char COMPLETION[] =
        "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"Here is what you have asked for, in one short sentence.\"},"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":250,\"completion_tokens\":12,\"total_tokens\":262}}";
    char text[1024];
    if (memmem(body, length, "\"stream\":true", 13)) {
        say(connection, HEAD, sizeof HEAD - 1);
        connection->sent = 0;
        connection->due = now() + GAP;
        later(connection);
        return;
    }
    int size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
        sizeof COMPLETION - 1, COMPLETION);
    say(connection, text, size);
}

static void take_requests(struct connection *connection) {
    ssize_t got = recv(connection->fd, connection->data + connection->have, SPACE - connection->have, 0);
    if (got <= 0) { forget(connection); return; }
    connection->have += got;
    for (;;) {
        char *head = connection->data, *end = memmem(head, connection->have, "\r\n\r\n", 4);
        if (!end) return;
        end += 4;
        const char *length = header(head, end, "content-length:");
        size_t size = length ? strtoul(length, NULL, 10) : 0, whole = end - head + size;
        if (whole > connection->have) return;
        answer(connection, end, size);
        memmove(head, head + whole, connection->have -= whole);
    }
}

static void serve(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1024)) die("listen");
    watch(listener, NULL);
    watch(ticker, &timer);
    struct epoll_event events[MOST_EVENTS];
    for (;;) {
        int count = epoll_wait(poller, events, MOST_EVENTS, -1);
        for (int index = 0; index < count; index++) {
            struct connection *connection = events[index].data.ptr;
            if (connection == &timer) { uint64_t ticks; if (read(ticker, &ticks, sizeof ticks) < 0) continue; }
            else if (connection) take_requests(connection);
            else for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) new_connection(fd);
        }
        while (streams && streams->due <= now()) {
            struct connection *stream = streams;
            streams = stream->next;
            chunk(stream);
        }
        if (streams) wake_at(streams->due);
    }
}

/* client ---------------------------------------------------------------------------------------------------------- */

static const char MARK[] = "QQQQQQQQ";
static struct { char *text, *mark; size_t length; } *requests;
static size_t request_count, turn, sent, failed, answered;
static uint32_t *totals, *firsts; /* us */
static struct connection *idle;
static struct sockaddr_in target = {.sin_family = AF_INET};

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t length;
    if (!file) die(path);
    while (fscanf(file, "%zu", &length) == 1) {
        fgetc(file);
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        requests[request_count].text = malloc(length);
        requests[request_count].length = length;
        if (fread(requests[request_count].text, 1, length, file) != length) die("request");
        requests[request_count].mark = memmem(requests[request_count].text, length, MARK, sizeof MARK - 1);
        request_count++;
    }
    fclose(file);
    if (!request_count) { fprintf(stderr, "%s holds no request\n", path); exit(1); }
}

/* Eight letters that no other request has for a long time. */
static void write_mark(char *mark) {
    static uint32_t number;
    if (!number) number = now() / 1000;
    number++;
    for (int index = 0; mark && index < 8; index++) mark[index] = 'a' + (number >> 4 * index & 15);
}

static struct connection *dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (void *)&target, sizeof target)) die("connect");
    return new_connection(fd);
}

static void drop(struct connection *connection) {
    close(connection->fd);
    for (struct connection **place = &idle; *place; place = &(*place)->next)
        if (*place == connection) { *place = connection->next; break; }
    free(connection);
}

static void ask(uint64_t due) {
    struct connection *connection = idle ? idle : dial();
    if (idle) idle = idle->next;
    size_t which = turn++ % request_count;
    write_mark(requests[which].mark);
    connection->busy = 1;
    connection->have = connection->first = 0;
    connection->due = due;
    sent++;
    if (send(connection->fd, requests[which].text, requests[which].length, MSG_NOSIGNAL) != (ssize_t)requests[which].length) {
        failed++;
        drop(connection);
    }
}

/* Whether the answer is whole: 1 yes, 0 not yet. */
static int is_whole(struct connection *connection) {
    char *head = connection->data, *end = memmem(head, connection->have, "\r\n\r\n", 4);
    if (!end) return 0;
    end += 4;
    size_t body = connection->have - (end - head);
    if (body && !connection->first) connection->first = now();
    const char *length = header(head, end, "content-length:");
    if (length) return body >= strtoul(length, NULL, 10);
    return body >= 5 && !memcmp(head + connection->have - 5, "0\r\n\r\n", 5);
}

static int is_sound(struct connection *connection) {
    return connection->have > 12 && !memcmp(connection->data + 9, "200", 3) &&
        memmem(connection->data, connection->have, "\"usage\"", 7) != NULL;
}

/* Reads; returns 1 where the connection is free for the next request. */
static int take_answer(struct connection *connection) {
    ssize_t got = recv(connection->fd, connection->data + connection->have, SPACE - connection->have, 0);
    if (got <= 0) {
        failed += connection->busy;
        drop(connection);
        return 0;
    }
    connection->have += got;
    if (!connection->busy || !is_whole(connection)) return 0;
    if (!is_sound(connection)) {
        if (!failed) fprintf(stderr, "%.*s\n", (int)connection->have, connection->data);
        failed++;
    } else if (answered < MOST_TIMES) {
        totals[answered] = (now() - connection->due) / 1000;
        firsts[answered++] = (connection->first - connection->due) / 1000;
    }
    connection->busy = 0;
    connection->next = idle;
    idle = connection;
    return 1;
}

static int by_size(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

static uint32_t percentile(uint32_t *times, double percent) { return answered ? times[(size_t)((answered - 1) * percent / 100)] : 0; }

static void load(int connections, double seconds, double rate) {
    struct epoll_event events[MOST_EVENTS];
    uint64_t start = now(), end = start + seconds * 1e9, gap = rate > 0 ? 1e9 / rate : 0, due = start, time = start;
    totals = calloc(MOST_TIMES, sizeof *totals);
    firsts = calloc(MOST_TIMES, sizeof *firsts);
    watch(ticker, &timer);
    if (gap) wake_at(due);
    else for (int index = 0; index < connections; index++) ask(now());
    while ((time = now()) < end || (sent > answered + failed && time < end + GRACE)) {
        int count = epoll_wait(poller, events, MOST_EVENTS, 100);
        for (int index = 0; index < count; index++) {
            struct connection *connection = events[index].data.ptr;
            uint64_t ticks;
            if (connection == &timer) { if (read(ticker, &ticks, sizeof ticks) < 0) die("timer"); }
            else if (take_answer(connection) && !gap && (time = now()) < end) ask(time);
        }
        if (!gap) continue;
        for (time = now(); due <= time && due < end; due += gap) ask(due);
        if (due < end) wake_at(due);
    }
    failed += sent - answered - failed; /* no answer at all */
    qsort(totals, answered, sizeof *totals, by_size);
    qsort(firsts, answered, sizeof *firsts, by_size);
    printf("{\"answered\":%zu,\"failed\":%zu,\"seconds\":%.6f,\"p50_us\":%u,\"p99_us\":%u,\"first_p50_us\":%u,\"first_p99_us\":%u}\n",
        answered, failed, (time - start) / 1e9, percentile(totals, 50), percentile(totals, 99),
        percentile(firsts, 50), percentile(firsts, 99));
}

int main(int count, char **words) {
    poller = epoll_create1(0);
    ticker = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (poller < 0 || ticker < 0) die("epoll");
    if (count == 3 && !strcmp(words[1], "serve")) serve(atoi(words[2]));
    if (count != 7 || strcmp(words[1], "load")) { fprintf(stderr, "usage: see the source\n"); return 2; }
    target.sin_port = htons(atoi(words[2]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    read_requests(words[3]);
    load(atoi(words[4]), atof(words[5]), atof(words[6]));
    return 0;
}
