/* Philox4x32-10: ten rounds of two 32x32->64 bit products, mixed with a key that grows by two Weyl constants. */
#include "base/random.h"
#include <math.h>

enum { PHILOX_ROUNDS = 10, WORDS = 4 };

void slad_philox(uint32_t block[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t left = UINT64_C(0xD2511F53) * c0;
        const uint64_t right = UINT64_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(right >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)right;
        c2 = (uint32_t)(left >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)left;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
}

slad_random slad_random_start(uint64_t seed, slad_random_purpose purpose, uint32_t a, uint32_t b)
{
    return (slad_random){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)}, .counter = {0, a, b, (uint32_t)purpose}, .used = WORDS};
}

uint32_t slad_random_u32(slad_random *random)
{
    if (random->used == WORDS) {
        slad_philox(random->block, random->counter, random->key);
        random->counter[0]++;
        random->used = 0;
    }
    return random->block[random->used++];
}

float slad_random_uniform(slad_random *random)
{
    return (float)(slad_random_u32(random) >> 8) * 0x1p-24f;
}

uint32_t slad_random_below(slad_random *random, uint32_t bound)
{
    /* The first 2^32 mod bound values would make small results likelier, so they are drawn again. */
    const uint32_t unfair = (0u - bound) % bound;
    uint32_t value = slad_random_u32(random);
    while (value < unfair) value = slad_random_u32(random);
    return value % bound;
}

/* Uniform in (0, 1], so that its logarithm is finite. */
static double positive_uniform(slad_random *random)
{
    return ((double)slad_random_u32(random) + 1.0) * 0x1p-32;
}

float slad_random_normal(slad_random *random)
{
    const double two_pi = 6.283185307179586;
    const double radius_draw = positive_uniform(random);
    const double angle_draw = (double)slad_random_u32(random) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(radius_draw)) * cos(two_pi * angle_draw));
}

/* The logarithm of a gamma-distributed number. */
static double log_gamma_draw(slad_random *random, double alpha)
{
    if (alpha < 1) {
        const double larger = log_gamma_draw(random, alpha + 1);
        return larger + log(positive_uniform(random)) / alpha;
    }
    const double d = alpha - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        const double x = (double)slad_random_normal(random), root = 1.0 + c * x;
        if (root <= 0) continue;
        const double v = root * root * root;
        if (log(positive_uniform(random)) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v);
    }
}

double slad_random_beta(slad_random *random, double alpha)
{
    const double one = log_gamma_draw(random, alpha), other = log_gamma_draw(random, alpha);
    return 1.0 / (1.0 + exp(other - one));
}

void slad_random_permutation(uint32_t *order, uint32_t count, slad_random *random)
{
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        const uint32_t other = slad_random_below(random, i);
        const uint32_t kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}
