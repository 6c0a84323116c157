/* Loaded into a server before its own libraries (LD_PRELOAD): lab/fleet/preload.py says what for.
 *
 *   CLOCK_AHEAD_S   how far its time of day is ahead, in whole seconds; behind if below 0
 *   DETOURS         a file: each line two ports, "where it connects to" and "where it gets"
 *
 * Clocks that only count (CLOCK_MONOTONIC) stay as they are: no machine changes those. The file is
 * read at each connect, of which a server makes few.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static time_t ahead_s;
static char *detours;

__attribute__((constructor)) static void begin(void) {
  const char *told = getenv("CLOCK_AHEAD_S");
  ahead_s = told ? atoll(told) : 0;
  /* A copy: Redis writes its title over its environment. */
  told = getenv("DETOURS");
  detours = told ? strdup(told) : NULL;
}

int clock_gettime(clockid_t id, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(id, now);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead_s;
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "gettimeofday");
  int failed = real(now, zone);
  if (!failed) now->tv_sec += ahead_s;
  return failed;
}

time_t time(time_t *kept) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (kept) *kept = now.tv_sec;
  return now.tv_sec;
}

static unsigned way_to(unsigned wanted) {
  FILE *file = detours ? fopen(detours, "r") : NULL;
  if (!file) return wanted;
  unsigned found = wanted, target, way;
  while (fscanf(file, "%u %u", &target, &way) == 2)
    if (target == wanted) found = way;
  fclose(file);
  return found;
}

int connect(int fd, const struct sockaddr *to, socklen_t length) {
  static int (*real)(int, const struct sockaddr *, socklen_t);
  if (!real) *(void **)&real = dlsym(RTLD_NEXT, "connect");
  struct sockaddr_in way;
  if (to->sa_family != AF_INET || length < sizeof way) return real(fd, to, length);
  memcpy(&way, to, sizeof way);
  way.sin_port = htons(way_to(ntohs(way.sin_port)));
  return real(fd, (struct sockaddr *)&way, sizeof way);
}
