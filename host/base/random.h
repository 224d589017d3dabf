/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 * A number is a pure function of (seed, stream, counters), so neither threads nor order change it. */
#ifndef SLAD_BASE_RANDOM_H
#define SLAD_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* One use of randomness = one stream, so that adding a use never shifts another. Purposes stay below 2^31: counters
 * whose last word has its highest bit set belong to dropout (reference/linear.h). */
typedef enum slad_random_purpose {
    SLAD_RANDOM_ADAPTER = 1, /* initial values of adapters */
    SLAD_RANDOM_HEAD = 2,    /* initial values of heads */
    SLAD_RANDOM_SHUFFLE = 3, /* order of an epoch */
    SLAD_RANDOM_AUGMENT = 4, /* crops and flips */
    SLAD_RANDOM_VERIFY = 5,  /* projections that check a GEMM, self-test inputs */
    SLAD_RANDOM_MIX = 6      /* mixup and CutMix of a batch */
} slad_random_purpose;

typedef struct slad_random {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned used; /* words of block already given */
} slad_random;

/* One block of the generator: four words that depend on nothing but counter and key. */
void slad_philox(uint32_t block[4], const uint32_t counter[4], const uint32_t key[2]);

/* The sequence that belongs to (seed, purpose, a, b), for example a = epoch and b = sample. */
slad_random slad_random_start(uint64_t seed, slad_random_purpose purpose, uint32_t a, uint32_t b);
uint32_t slad_random_u32(slad_random *random);
/* Uniform in [0, 1) with 24 bits. */
float slad_random_uniform(slad_random *random);
/* Uniform in 0 .. bound-1 without bias; bound > 0. */
uint32_t slad_random_below(slad_random *random, uint32_t bound);
/* Standard normal (Box-Muller, in double). */
float slad_random_normal(slad_random *random);
/* Beta(alpha, alpha), in [0, 1]; alpha > 0. From two gamma numbers, kept as logarithms so that a small alpha does not
 * make both 0 (Marsaglia and Tsang, "A simple method for generating gamma variables", 2000). */
double slad_random_beta(slad_random *random, double alpha);
/* A permutation of 0 .. count-1 (Fisher-Yates). */
void slad_random_permutation(uint32_t *order, uint32_t count, slad_random *random);

#endif
