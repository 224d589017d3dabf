/* How far two gradients of shared tensors point the same way, in plain C. Sums in double. */
#ifndef SLAD_REFERENCE_GRADIENT_CONFLICT_H
#define SLAD_REFERENCE_GRADIENT_CONFLICT_H

#include <stddef.h>

/* A shared region: [size[0], size[1], size[2]], rows stride[0] and stride[1] apart, elements of a row side by side. */
typedef struct slad_reference_region {
    size_t size[3], stride[2];
} slad_reference_region;

/* Sums over a region: teacher . student, |teacher|^2, |student|^2. */
typedef struct slad_reference_conflict {
    double product, teacher, student;
} slad_reference_conflict;

/* Adds a region's sums; student and gradient point to its first element. gradient is that of both models, so the
 * teacher's own is gradient - student. */
void slad_reference_conflict_add(slad_reference_conflict *sums, const float *student, const float *gradient,
                                 const slad_reference_region *region);
/* The cosine, and the norms of both; all 0 where a sum is not finite, and the cosine 0 where one of them is. */
void slad_reference_conflict_finish(double *cosine, double *teacher_norm, double *student_norm,
                                    const slad_reference_conflict *sums);

#endif
