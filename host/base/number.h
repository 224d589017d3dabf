/* Numbers as text with a decimal point, whatever locale the program that embeds the library has set: printf and strtod
 * of C follow the locale's decimal mark. */
#ifndef SLAD_BASE_NUMBER_H
#define SLAD_BASE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>

enum { SLAD_NUMBER_SIZE = 48 }; /* bytes of a text below, of at most 17 digits and a value below 1e20 */

/* As printf's "%.*g" (significant digits) and "%.*f" (places behind the point). NaN and infinity become "nan", "inf" or
 * "-inf". A fixed text that has no room, of a value that large, becomes one of significant digits. */
void slad_number_text(char text[SLAD_NUMBER_SIZE], int significant, double value);
void slad_number_fixed(char text[SLAD_NUMBER_SIZE], int places, double value);

/* As strtod, but the decimal mark is a point. *end stands behind the number, and on text where there is none. Numbers
 * of more than 127 characters are none. */
double slad_number_read(const char *text, const char **end);

#endif
