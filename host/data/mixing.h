/* Mixup (Zhang et al., arXiv 1710.09412) and CutMix (Yun et al., arXiv 1905.04899) of a batch with itself in reverse,
 * as timm's Mixup does in its mode "batch": one draw a batch, partner of image i is image count-1-i. */
#ifndef SLAD_DATA_MIXING_H
#define SLAD_DATA_MIXING_H

#include "base/random.h"
#include "data/resize.h"
#include "slad/data.h"

/* How the images of a batch are mixed: x <- share x + (1 - share) partner, or, with a box, x with the partner's pixels
 * in the box, whose area is 1 - share of the image's. */
typedef struct slad_mixing {
    double share; /* of an image's own label in its target; 1: nothing is mixed */
    bool has_box;
    slad_rectangle box;
} slad_mixing;

/* Draws from Beta(alpha, alpha): mixup's alpha, CutMix's, or, where both are above 0, one of the two with probability
 * 1/2. Both 0: nothing is mixed. */
slad_mixing slad_mixing_draw(slad_random *random, double mixup, double cutmix, size_t height, size_t width);

/* CutMix's box around a centre: sides (int)(side * sqrt(1 - share)), cut at the image's border; *share becomes 1 less
 * the part of the image that it covers. Equal to timm's cutmix_bbox_and_lam. */
slad_rectangle slad_cutmix_box(double *share, size_t height, size_t width, size_t centre_y, size_t centre_x);

/* Mixes the rows 0 .. count-1 of a batch in place and fills labels_2 and mix, which must be there:
 * - the middle image of an odd count is its own partner, and stays as it is;
 * - an image that is broken (KL weight 0) is mixed with nothing: it and its partner stay as they are;
 * - the target of a pair with an unlabelled image (task weight 0) is not known: both count in the KL only.
 * What stays as it is has mix 1 and its own label twice; rows past count get mix and label 0. */
void slad_mixing_apply(slad_batch *batch, const slad_mixing *mixing);

#endif
