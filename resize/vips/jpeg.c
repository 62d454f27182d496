/* Reads and writes JPEGs by libjpeg itself.
 *
 * libvips can do this too, by the same libjpeg. It gives libjpeg 4 KB at a time, and
 * libjpeg-turbo decodes by its fast way only where it sees 3 KB ahead: a quarter of a photo.
 * All of the file is in memory here. And libvips starts threads and passes rows from buffer
 * to buffer, which costs more than resizing does.
 *
 * What it makes is the same, byte by byte, and it refuses a file that ends early, too. It does
 * not count damage, of which libvips refuses a file at the hundredth. Headers, and pictures in
 * inks, are left to libvips. */

#include "jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

/* Errors leave libjpeg by jumping. */
typedef struct {
	struct jpeg_error_mgr pub;
	jmp_buf leave;
} errors;

static void
leave(j_common_ptr info)
{
	char text[JMSG_LENGTH_MAX];

	info->err->format_message(info, text);
	vips_error("jpeg", "%s", text);
	longjmp(((errors *) info->err)->leave, 1);
}

/* Warnings: libjpeg continues as well as it can, as in browsers. */
static void
silent(j_common_ptr info)
{
}

static struct jpeg_error_mgr *
errors_init(errors *e)
{
	jpeg_std_error(&e->pub);
	e->pub.error_exit = leave;
	e->pub.output_message = silent;
	return &e->pub;
}

/* The most scans of a picture, as libvips has it. An empty one takes a few bytes of the file, and
 * libjpeg goes over the whole picture for it. */
#define MAX_SCANS 100

static void
limit_scans(j_common_ptr info)
{
	if (((j_decompress_ptr) info)->input_scan_number > MAX_SCANS) {
		vips_error("jpeg", "more than %d scans", MAX_SCANS);
		longjmp(((errors *) info->err)->leave, 1);
	}
}

struct jpeg {
	struct jpeg_decompress_struct info;
	int width, rows; /* as libvips has it: without a last column or row that stands for less than the others */
	errors errors;
	struct jpeg_progress_mgr progress;
	struct jpeg_source_mgr source;
	gboolean started;
	VipsPel *row;
	resampler *planes[3];
};

static void
begin_source(j_decompress_ptr info)
{
}

/* libjpeg asks for more than there is. */
static boolean
end_of_source(j_decompress_ptr info)
{
	ERREXIT(info, JERR_INPUT_EOF);
	return FALSE;
}

static void
skip(j_decompress_ptr info, long n)
{
	if (n <= 0)
		return;
	if ((unsigned long) n > info->src->bytes_in_buffer)
		ERREXIT(info, JERR_INPUT_EOF);
	info->src->next_input_byte += n;
	info->src->bytes_in_buffer -= n;
}

jpeg *
jpeg_open(const void *src, size_t len, int shrink, const VipsImage *like)
{
	jpeg *j = g_new0(jpeg, 1);
	struct jpeg_decompress_struct *info = &j->info;

	info->err = errors_init(&j->errors);
	if (setjmp(j->errors.leave)) {
		jpeg_close(j);
		vips_error_clear();
		return NULL;
	}
	jpeg_create_decompress(info);
	j->source = (struct jpeg_source_mgr){.next_input_byte = src, .bytes_in_buffer = len,
		.init_source = begin_source, .fill_input_buffer = end_of_source, .skip_input_data = skip,
		.resync_to_restart = jpeg_resync_to_restart, .term_source = begin_source};
	info->src = &j->source;
	j->progress.progress_monitor = limit_scans;
	info->progress = &j->progress;
	jpeg_read_header(info, TRUE);
	info->scale_num = 1;
	info->scale_denom = shrink;
	jpeg_calc_output_dimensions(info);
	if ((info->out_color_space != JCS_RGB && info->out_color_space != JCS_GRAYSCALE) ||
		info->output_components != like->Bands || like->BandFmt != VIPS_FORMAT_UCHAR ||
		(int) info->image_width / shrink != like->Xsize || (int) info->image_height / shrink != like->Ysize) {
		jpeg_close(j);
		return NULL;
	}
	j->width = like->Xsize;
	j->rows = like->Ysize;
	return j;
}

void
jpeg_close(jpeg *j)
{
	jpeg_destroy_decompress(&j->info);
	for (int i = 0; i < 3; i++)
		if (j->planes[i])
			resampler_free(j->planes[i]);
	g_free(j->row);
	g_free(j);
}

/* The next row. */
static const VipsPel *
next_row(void *state, int y)
{
	jpeg *j = state;
	size_t size = (size_t) j->info.output_width * j->info.output_components;

	if (setjmp(j->errors.leave))
		return NULL;
	if (!j->started) {
		jpeg_start_decompress(&j->info);
		j->row = g_malloc(2 * size); /* and one that nobody gets */
		j->started = TRUE;
	}
	if (y != (int) j->info.output_scanline)
		ERREXIT(&j->info, JERR_BAD_STATE);
	jpeg_read_scanlines(&j->info, &j->row, 1);
	if (y == j->rows - 1 && j->info.output_scanline < j->info.output_height) {
		VipsPel *last = j->row + size;

		jpeg_read_scanlines(&j->info, &last, 1); /* the file may end there */
	}
	return j->row;
}

row_source
jpeg_rows(jpeg *j)
{
	return (row_source){{.width = j->width, .rows = j->rows,
		.bands = j->info.output_components}, .row = next_row, .state = j};
}

/* How many pixels a sample of a component stands for, sideways or down, once decoded. 0: that
 * is no whole number. */
static int
pitch(const struct jpeg_decompress_struct *info, const jpeg_component_info *of, gboolean down)
{
	int all = (down ? info->max_v_samp_factor : info->max_h_samp_factor) * info->min_DCT_scaled_size;
	int its = (down ? of->v_samp_factor : of->h_samp_factor) * of->DCT_scaled_size;

	return all % its ? 0 : all / its;
}

gboolean
jpeg_has_planes(const jpeg *j)
{
	const jpeg_component_info *c = j->info.comp_info;

	if (j->info.jpeg_color_space != JCS_YCbCr || j->info.num_components != 3)
		return FALSE;
	for (int i = 0; i < 3; i++)
		for (int down = 0; down < 2; down++) {
			int n = pitch(&j->info, &c[i], down);

			if (n < 1 || (i == 0 && n > 1))
				return FALSE;
		}
	return TRUE;
}

/* Memory for rows of samples, until the JPEG is closed. */
static JSAMPARRAY
rows_of(j_common_ptr info, const jpeg_component_info *of, int block)
{
	/* libjpeg-turbo's vectors write to the end of a block. */
	return info->mem->alloc_sarray(info, JPOOL_IMAGE, of->width_in_blocks * block + DCTSIZE, of->v_samp_factor * block);
}

int
jpeg_planes(jpeg *j, planes *to)
{
	struct jpeg_decompress_struct *info = &j->info;
	JSAMPARRAY rows[3];

	if (setjmp(j->errors.leave))
		return -1;
	info->raw_data_out = TRUE;
	info->out_color_space = JCS_YCbCr;
	jpeg_start_decompress(info);
	for (int i = 0; i < 3; i++) {
		jpeg_component_info *c = &info->comp_info[i];
		picture *p = &to->band[i];
		double by = i ? to->pitch : 1;

		rows[i] = rows_of((j_common_ptr) info, c, c->DCT_scaled_size);
		j->planes[i] = resampler_new(&(row_form){c->downsampled_width, c->downsampled_height, 1},
			by / pitch(info, c, FALSE) * info->image_width / info->scale_denom / to->band[0].width,
			by / pitch(info, c, TRUE) * info->image_height / info->scale_denom / to->band[0].height,
			i ? to->pitch : 1, p->width, p->height, p->pixels);
	}
	for (int strip = 0; info->output_scanline < info->output_height; strip++) {
		jpeg_read_raw_data(info, rows, info->max_v_samp_factor * info->min_DCT_scaled_size);
		for (int i = 0; i < 3; i++) {
			jpeg_component_info *c = &info->comp_info[i];
			int n = c->v_samp_factor * c->DCT_scaled_size;

			for (int y = 0; y < n && strip * n + y < (int) c->downsampled_height; y++)
				resampler_row(j->planes[i], rows[i][y]);
		}
	}
	return 0;
}

/* Where libjpeg writes to. */
typedef struct {
	struct jpeg_destination_mgr pub;
	VipsPel *data;
	size_t room, used;
} target;

static void
more_room(target *t)
{
	t->used = t->room;
	t->room = MAX(t->room * 2, 16 << 10);
	t->data = g_realloc(t->data, t->room);
	t->pub.next_output_byte = t->data + t->used;
	t->pub.free_in_buffer = t->room - t->used;
}

static void
begin_target(j_compress_ptr info)
{
	more_room((target *) info->dest);
}

static boolean
target_full(j_compress_ptr info)
{
	more_room((target *) info->dest);
	return TRUE;
}

static void
end_target(j_compress_ptr info)
{
	target *t = (target *) info->dest;

	t->used = t->room - t->pub.free_in_buffer;
}

/* Hands planes to libjpeg, in strips of blocks. It wants complete blocks, which are filled up
 * with the last sample. */
static void
write_planes(j_compress_ptr info, const planes *p)
{
	JSAMPARRAY rows[3];

	for (int i = 0; i < 3; i++)
		rows[i] = rows_of((j_common_ptr) info, &info->comp_info[i], DCTSIZE);
	for (int strip = 0; info->next_scanline < info->image_height; strip++) {
		for (int i = 0; i < 3; i++) {
			const picture *b = &p->band[i];
			int n = info->comp_info[i].v_samp_factor * DCTSIZE, width = info->comp_info[i].width_in_blocks * DCTSIZE;

			for (int y = 0; y < n; y++) {
				const VipsPel *row = b->pixels + (size_t) MIN(strip * n + y, b->height - 1) * b->width;

				memcpy(rows[i][y], row, b->width);
				memset(rows[i][y] + b->width, row[b->width - 1], width - b->width);
			}
		}
		jpeg_write_raw_data(info, rows, info->max_v_samp_factor * DCTSIZE);
	}
}

static void
write_pixels(j_compress_ptr info, const picture *p)
{
	while (info->next_scanline < info->image_height) {
		JSAMPROW row = p->pixels + (size_t) info->next_scanline * p->width * p->bands;

		jpeg_write_scanlines(info, &row, 1);
	}
}

/* Encodes planes, or a picture if that is NULL. */
static int
compress(const planes *bands, const picture *p, int quality, gboolean full, gboolean progressive, void **data, size_t *size)
{
	struct jpeg_compress_struct info = {0};
	errors e;
	target *to = g_new0(target, 1);

	to->pub.init_destination = begin_target;
	to->pub.empty_output_buffer = target_full;
	to->pub.term_destination = end_target;
	info.err = errors_init(&e);
	if (setjmp(e.leave)) {
		jpeg_destroy_compress(&info);
		g_free(to->data);
		g_free(to);
		return -1;
	}
	jpeg_create_compress(&info);
	info.dest = &to->pub;
	info.image_width = p->width;
	info.image_height = p->height;
	info.input_components = bands ? 3 : p->bands;
	info.in_color_space = bands ? JCS_YCbCr : p->bands == 1 ? JCS_GRAYSCALE : JCS_RGB;
	jpeg_set_defaults(&info);
	info.raw_data_in = bands != NULL;
	info.optimize_coding = TRUE;
	jpeg_set_quality(&info, quality, TRUE);
	info.write_JFIF_header = FALSE; /* 18 bytes that say nothing */
	if (progressive)
		jpeg_simple_progression(&info);
	if (full)
		for (int i = 0; i < info.num_components; i++)
			info.comp_info[i].h_samp_factor = info.comp_info[i].v_samp_factor = 1;
	jpeg_start_compress(&info, TRUE);
	if (bands)
		write_planes(&info, bands);
	else
		write_pixels(&info, p);
	jpeg_finish_compress(&info);
	jpeg_destroy_compress(&info);
	*data = to->data;
	*size = to->used;
	g_free(to);
	return 0;
}

int
jpeg_pitch(int quality)
{
	return quality >= 90 ? 1 : 2;
}

int
jpeg_encode(const picture *p, int quality, gboolean full, gboolean progressive, void **data, size_t *size)
{
	if (p->bands != 1 && p->bands != 3) {
		vips_error("jpeg", "a picture of %d bands", p->bands);
		return -1;
	}
	return compress(NULL, p, quality, full || jpeg_pitch(quality) == 1, progressive, data, size);
}

int
jpeg_encode_planes(const planes *p, int quality, void **data, size_t *size)
{
	return compress(p, &p->band[0], quality, p->pitch == 1, FALSE, data, size);
}
