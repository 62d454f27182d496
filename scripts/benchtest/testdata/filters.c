/* Times the filters of resize/vips beside those of libvips, without the machine code
 * that libvips 8.14 writes while it runs, which a decoder may not: see resample.c and
 * blur.c. CPU seconds are printed as ratios of medians of one run, in which the two
 * take turns. scripts/bench filters builds and runs it. */

#include "../../../resize/vips/blur.h"
#include "../../../resize/vips/resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vips/vector.h>

#define ROUNDS 9

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int
by_number(const void *a, const void *b)
{
	double d = *(const double *) a - *(const double *) b;

	return (d > 0) - (d < 0);
}

static double
median(double *all)
{
	qsort(all, ROUNDS, sizeof(*all), by_number);
	return all[ROUNDS / 2];
}

static void
must(int failed)
{
	if (failed)
		vips_error_exit(NULL);
}

/* Noise, smooth enough to be a photo's. */
static void
draw(picture *p)
{
	unsigned n = 1;

	for (size_t i = 0; i < (size_t) p->width * p->height * p->bands; i++) {
		n = n * 1103515245 + 12345;
		p->pixels[i] = (i / 700 + (n >> 28)) & 255;
	}
	if (p->bands == 4)
		for (size_t i = 3; i < (size_t) p->width * p->height * 4; i += 4)
			p->pixels[i] = i / 4000 & 255;
}

static void
theirs(VipsImage *in, double factor, int alpha, double sigma)
{
	VipsImage *t[4] = {0}, *out = in;
	void *pixels;
	size_t size;

	g_object_ref(in);
	if (alpha) {
		must(vips_premultiply(out, &t[0], NULL));
		out = t[0];
	}
	if (sigma > 0)
		must(vips_gaussblur(out, &t[1], sigma, NULL));
	else
		must(vips_resize(out, &t[1], 1 / factor, NULL));
	out = t[1];
	if (alpha) {
		must(vips_unpremultiply(out, &t[2], NULL));
		must(vips_cast_uchar(t[2], &t[3], NULL));
		out = t[3];
	}
	pixels = vips_image_write_to_memory(out, &size);
	must(pixels == NULL);
	g_free(pixels);
	for (int i = 0; i < 4; i++)
		if (t[i])
			g_object_unref(t[i]);
	g_object_unref(in);
}

static void
measure(const char *what, int bands, double factor, double sigma)
{
	picture p = {0};
	VipsImage *in;
	double a[ROUNDS], b[ROUNDS];

	must(picture_new(&p, 3000, 2000, bands, VIPS_INTERPRETATION_sRGB));
	draw(&p);
	must((in = picture_image(&p)) == NULL);
	for (int i = 0; i < ROUNDS; i++) {
		double began = seconds();

		if (sigma > 0) {
			picture q = {0};

			must(picture_new(&q, p.width, p.height, bands, p.type));
			memcpy(q.pixels, p.pixels, (size_t) p.width * p.height * bands);
			must(blur(&q, sigma));
			picture_free(&q);
		} else {
			int w = 3000 / factor, h = 2000 / factor;
			VipsPel *out = malloc((size_t) w * h * bands);

			must(resample_image(in, 0, 2000, w, h, out));
			free(out);
		}
		a[i] = seconds() - began;
		began = seconds();
		theirs(in, factor, bands == 4, sigma);
		b[i] = seconds() - began;
	}
	g_object_unref(in);
	picture_free(&p);
	double ours = median(a), libvips = median(b);

	printf("| %s, %d bands | %.1f ms | %.1f ms | %.2f |\n", what, bands, 1e3 * ours, 1e3 * libvips, ours / libvips);
}

int
main(int argc, char **argv)
{
	must(VIPS_INIT(argv[0]));
	/* Before 8.15 vectors are machine code that liborc writes. */
	vips_vector_set_enabled(vips_version(0) > 8 || vips_version(1) >= 15);
	vips_concurrency_set(1);
	vips_cache_set_max(0);
	printf("libvips %s, vectors %s\n\n| of 3000 x 2000 | ours | libvips | ratio |\n| --- | --- | --- | --- |\n", vips_version_string(), vips_vector_isenabled() ? "on" : "off");
	for (int bands = 3; bands <= 4; bands++) {
		measure("to a half", bands, 2, 0);
		measure("to a 2.7th", bands, 2.7, 0);
		measure("to an eighth", bands, 8, 0);
		measure("blur by 2", bands, 1, 2);
		measure("blur by 10", bands, 1, 10);
	}
	vips_shutdown();
	return 0;
}
