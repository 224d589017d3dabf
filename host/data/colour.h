/* Distortions of 8-bit images as torchvision does them on Pillow images: colours and blur. */
#ifndef SLAD_DATA_COLOUR_H
#define SLAD_DATA_COLOUR_H

#include "base/random.h"
#include "data/image.h"

/* factor >= 0, 1: nothing changes. Pillow's ImageEnhance: a blend of the image with black, with the rounded mean of its
 * luminance, and with its luminance. Equal to Pillow bit for bit. */
void slad_adjust_brightness(slad_image *image, double factor);
void slad_adjust_contrast(slad_image *image, double factor);
void slad_adjust_saturation(slad_image *image, double factor);
/* Turns the hue by `turns` of the circle, -0.5 .. 0.5, through Pillow's HSV of 8 bits. Equal to torchvision's
 * adjust_hue on Pillow images bit for bit. */
void slad_adjust_hue(slad_image *image, double turns);
/* Luminance in all three channels (ITU-R 601-2, as Pillow's mode L). */
void slad_make_grey(slad_image *image);
/* Convolution with 9 x 9 Gaussian weights, reflected at the border, as torchvision's gaussian_blur with kernel size 9,
 * within a grey level. sigma > 0. Errors: SLAD_ERROR_OUT_OF_MEMORY. */
slad_status slad_blur(slad_context *context, slad_image *image, double sigma);

/* The distortions of MoCo v2 (Chen et al., arXiv 2003.04297), in its order: with probability 0.8 brightness, contrast
 * and saturation by factors of U(0.6, 1.4) and hue by U(-0.1, 0.1), one after another in a random order; grey with
 * probability 0.2; a Gaussian blur of sigma U(0.1, 2). The blur's probability is that of the second view of BYOL (arXiv
 * 2006.07733) and DINOv2, 0.1 instead of 0.5, and its kernel DINOv2's. Errors: those of slad_blur. */
slad_status slad_distort(slad_context *context, slad_image *image, slad_random *random);

#endif
