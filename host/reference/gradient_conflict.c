#include "reference/gradient_conflict.h"
#include <math.h>

void slad_reference_conflict_add(slad_reference_conflict *sums, const float *student, const float *gradient,
                                 const slad_reference_region *region)
{
    for (size_t i = 0; i < region->size[0]; i++) {
        for (size_t j = 0; j < region->size[1]; j++) {
            const size_t row = i * region->stride[0] + j * region->stride[1];
            for (size_t k = row; k < row + region->size[2]; k++) {
                const double of_student = (double)student[k], of_teacher = (double)gradient[k] - of_student;
                sums->product += of_teacher * of_student;
                sums->teacher += of_teacher * of_teacher;
                sums->student += of_student * of_student;
            }
        }
    }
}

void slad_reference_conflict_finish(double *cosine, double *teacher_norm, double *student_norm,
                                    const slad_reference_conflict *sums)
{
    *cosine = *teacher_norm = *student_norm = 0;
    if (!isfinite(sums->product) || !isfinite(sums->teacher) || !isfinite(sums->student)) return;
    *teacher_norm = sqrt(sums->teacher);
    *student_norm = sqrt(sums->student);
    if (*teacher_norm > 0 && *student_norm > 0) *cosine = sums->product / (*teacher_norm * *student_norm);
}
