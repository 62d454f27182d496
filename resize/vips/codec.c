/* Which of libvips' loaders and savers exist, and which may be called. They have the names
 * of the operations ("pngload_buffer"). The class behind a name depends on how libvips was
 * built: a build with libspng has another class for writing PNG than a build with libpng,
 * and one version of libvips may have either. */

#define _GNU_SOURCE /* dladdr */

#include "codec.h"

#include <dlfcn.h>
#include <gmodule.h>
#include <stdlib.h>
#include <time.h>
#include <vips/vips.h>

#include "fault.h"
#include "thumb.h"

#if VIPS_MAJOR_VERSION < 8 || (VIPS_MAJOR_VERSION == 8 && VIPS_MINOR_VERSION < 13)
#error "libvips 8.13 or later is needed"
#endif

/* For each format, the operations that load and save it, and the module that contains both
 * if libvips was built so. */
typedef struct {
	int format;
	const char *load, *save, *module;
} codec;

static const codec codecs[] = {
	{THUMB_JPEG, "jpegload_buffer", "jpegsave_buffer", NULL},
	{THUMB_PNG, "pngload_buffer", "pngsave_buffer", NULL},
	{THUMB_GIF, NULL, "gifsave_buffer", NULL},
	{THUMB_WEBP, "webpload_buffer", "webpsave_buffer", NULL},
	{THUMB_AVIF, "heifload_buffer", "heifsave_buffer", "vips-heif"},
	{THUMB_HEIC, "heifload_buffer", NULL, "vips-heif"},
	{THUMB_TIFF, "tiffload_buffer", NULL, "vips-tiff"},
	{THUMB_JXL, "jxlload_buffer", NULL, "vips-jxl"},
};

/* Runs before any Go code, because bimg starts libvips when its package is initialised.
 * VIPSHOME leads nowhere, so that libvips finds no modules: its loaders through
 * ImageMagick, poppler, libheif, OpenSlide and JPEG XL are not even mapped into the
 * process, except those that codec_find is asked for. VIPS_DISC_THRESHOLD is out of reach:
 * above it, libvips unpacks what it cannot read from top to bottom into a temporary file. */
__attribute__((constructor)) static void
environment(void)
{
	setenv("VIPSHOME", "/nonexistent", 1);
	setenv("VIPS_BLOCK_UNTRUSTED", "1", 1);
	setenv("VIPS_DISC_THRESHOLD", "1000g", 1);
}

/* A broken image can cause hundreds of warnings. The relevant reason is in the error. A
 * message that precedes an abort of the process is still printed. */
static void
quiet(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
	if (level & (G_LOG_FLAG_FATAL | G_LOG_LEVEL_ERROR)) {
		fault_end();
		g_log_default_handler(domain, level, message, data);
	}
}

/* Loads one of libvips' modules, which lie beside it. */
static int
open_module(const char *name)
{
	Dl_info self;
	char *folder, *path;
	GModule *module = NULL;

	if (!dladdr((const void *) vips_version, &self) || !self.dli_fname) {
		vips_error("thumb", "libvips is not to be found");
		return -1;
	}
	folder = g_path_get_dirname(self.dli_fname);
	path = g_strdup_printf("%s/vips-modules-%d.%d/%s.so", folder, vips_version(0), vips_version(1), name);
	if (!(module = g_module_open(path, G_MODULE_BIND_LAZY)))
		vips_error("thumb", "%s", g_module_error());
	else
		g_module_make_resident(module);
	g_free(folder);
	g_free(path);
	return module ? 0 : -1;
}

static const codec *
find(int format)
{
	for (size_t i = 0; i < G_N_ELEMENTS(codecs); i++)
		if (codecs[i].format == format)
			return &codecs[i];
	return NULL;
}

/* The operation; NULL, with an error, if it may not be called. */
static const char *
name_of(int format, int save)
{
	const codec *c = find(format);
	const char *name = !c ? NULL : save ? c->save : c->load;

	if (!name)
		vips_error("thumb", "format %d has no %s", format, save ? "saver" : "loader");
	return name;
}

int
codec_find(int format, int save)
{
	const char *name = name_of(format, save);

	if (!name)
		return THUMB_SELF;
	if (!vips_type_find("VipsForeign", name) && find(format)->module && open_module(find(format)->module))
		return THUMB_SELF;
	if (!vips_type_find("VipsForeign", name)) {
		vips_error("thumb", "it was built without %s", name);
		return THUMB_SELF;
	}
	return 0;
}

void
codec_block_all(void)
{
	g_log_set_default_handler(quiet, NULL);
	/* The library for profiles asks for the time. Read the zone now, so that it opens no
	 * file later. */
	tzset();
	vips_operation_block_set("VipsForeign", TRUE);
	vips_concurrency_set(1);
}

int
codec_allow(int format, int save, int allowed)
{
	const char *name = name_of(format, save);
	GType type = name ? vips_type_find("VipsForeign", name) : 0;

	if (!type)
		return THUMB_SELF;
	vips_operation_block_set(g_type_name(type), !allowed);
	return 0;
}

int
codec_usable(int format, int save)
{
	const char *name = name_of(format, save);
	GType type = name ? vips_type_find("VipsForeign", name) : 0;
	VipsOperationClass *class = type ? g_type_class_ref(type) : NULL;
	int usable = class && !(class->flags & VIPS_OPERATION_BLOCKED);

	if (name && !usable)
		vips_error("thumb", "%s: %s", name, class ? "operation is blocked" : "there is no such operation");
	if (class)
		g_type_class_unref(class);
	return usable;
}
