/* Latencies in ns, counted in buckets: exact to 256, then 128 steps an octave, so within 0.8 %.
 *
 * Included by load.c alone. lab/measure/generator.py takes percentiles of what it prints.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define HISTOGRAM_STEPS 128                        /* a power of two: 7 bits after the first */
#define HISTOGRAM_BUCKETS (58 * HISTOGRAM_STEPS)   /* up to the largest 64-bit number */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t ns_max; /* the largest, exact */
};

static unsigned histogram_bucket(uint64_t ns) {
    if (ns < 2 * HISTOGRAM_STEPS)
        return (unsigned)ns;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns) - 7;
    return octave * HISTOGRAM_STEPS + (unsigned)(ns >> octave);
}

/* The largest value that falls into a bucket: a percentile never flatters. */
static uint64_t histogram_bucket_ns_max(unsigned bucket) {
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    unsigned octave = bucket / HISTOGRAM_STEPS - 1;
    return (((uint64_t)(bucket % HISTOGRAM_STEPS) + HISTOGRAM_STEPS + 1) << octave) - 1;
}

static void histogram_add(struct histogram *h, uint64_t ns) {
    h->counts[histogram_bucket(ns)]++;
    if (ns > h->ns_max)
        h->ns_max = ns;
}

static void histogram_clear(struct histogram *h) { memset(h, 0, sizeof *h); }

/* As JSON: [[largest ns of the bucket, count], …] for those that hold any. */
static void histogram_print(const struct histogram *h) {
    const char *comma = "";
    putchar('[');
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (!h->counts[i])
            continue;
        printf("%s[%llu, %llu]", comma, (unsigned long long)histogram_bucket_ns_max(i),
               (unsigned long long)h->counts[i]);
        comma = ", ";
    }
    putchar(']');
}
