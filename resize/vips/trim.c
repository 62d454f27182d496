/* Finding the borders of a picture, in one pass from top to bottom and without
 * keeping it. */

#include <stdlib.h>
#include <string.h>

#include "trim.h"

/* What is looked for. */
typedef struct {
	const row_form *in;
	int tolerance;
	int colour[4]; /* of the top left pixel */
} border;

static int
value(const border *b, const VipsPel *row, int x, int band)
{
	size_t i = (size_t) x * b->in->bands + band;

	return b->in->deep ? ((const guint16 *) row)[i] >> 8 : row[i];
}

static gboolean
is_border(const border *b, const VipsPel *row, int x)
{
	/* What cannot be seen has no colour. */
	if (b->in->alpha && b->colour[b->in->bands - 1] == 0 && value(b, row, x, b->in->bands - 1) == 0)
		return TRUE;
	for (int i = 0; i < b->in->bands; i++)
		if (abs(value(b, row, x, i) - b->colour[i]) > b->tolerance)
			return FALSE;
	return TRUE;
}

int
trim(const row_source *in, int tolerance, int *left, int *top, int *right, int *bottom)
{
	border b = {.in = &in->form, .tolerance = tolerance};

	*left = in->form.width;
	*top = in->form.rows;
	*right = *bottom = 0;
	for (int y = 0; y < in->form.rows; y++) {
		const VipsPel *row = in->row(in->state, y);
		int x = 0, end = in->form.width;

		if (!row)
			return -1;
		if (y == 0)
			for (int i = 0; i < in->form.bands; i++)
				b.colour[i] = value(&b, row, 0, i);
		while (x < end && is_border(&b, row, x))
			x++;
		if (x == end)
			continue;
		while (is_border(&b, row, end - 1))
			end--;
		*left = MIN(*left, x);
		*right = MAX(*right, end);
		*top = MIN(*top, y);
		*bottom = y + 1;
	}
	return 0;
}
