package bucket

import (
	"context"
	"iter"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/variant"
)

// Names of before, for callers that are yet to use package record.
type (
	Digest   = record.Digest
	Image    = record.Image
	Block    = record.Block
	Kind     = record.Kind
	Finding  = record.Finding
	Progress = record.Progress
	Removed  = record.Removed
	Removal  = record.Removal

	ScrubOptions   = scrub.Options
	ScrubReport    = scrub.Report
	BackupOptions  = backup.Options
	BackupReport   = backup.Report
	ReindexOptions = reindex.Options
	ReindexReport  = reindex.Report
	LinkRotOptions = linkrot.Options
	LinkRotPass    = linkrot.Pass
	LinkRot        = linkrot.Report
	OriginState    = linkrot.State

	Making       = variant.Key
	Made         = variant.Variant
	Maker        = variant.Maker
	PauseError   = variant.PauseError
	Facts        = query.Details
	ImageFacts   = query.ImageDetails
	FailureFacts = query.FailureDetails
	DeadlyFacts  = query.PoisonDetails
	Listed       = query.Entry
	Filter       = query.Filter
	Tally        = query.Totals
	Stats        = StatsAndLinkRot
)

const (
	BlockURL    = record.BlockURL
	BlockDigest = record.BlockDigest
	BlockHost   = record.BlockHost
	Missing     = record.Missing
	Corrupt     = record.Corrupt
	Orphan      = record.Orphan
	HalfRemoved = record.HalfRemoved

	OriginAlive       = linkrot.Alive
	OriginGone        = linkrot.Gone
	OriginUnreachable = linkrot.Unreachable
	OriginUnsure      = linkrot.Unsure

	DefaultReserve = local.DefaultReserve
)

// ParseDigest is record.ParseDigest.
func ParseDigest(s string) (Digest, error) { return record.ParseDigest(s) }

// Kinds is record.Kinds.
func Kinds() []Kind { return record.Kinds() }

// Scrub is scrub.Run.
func (s *Store) Scrub(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	return scrub.Run(ctx, s.Maintenance(), o)
}

// CheckOrigins is linkrot.Check.
func (s *Store) CheckOrigins(ctx context.Context, o linkrot.Options) (linkrot.Pass, error) {
	return linkrot.Check(ctx, s.Maintenance(), o)
}

// LinkRot is linkrot.Read.
func (s *Store) LinkRot() (*linkrot.Report, error) { return linkrot.Read(s.root, s.log) }

// OriginStates is linkrot.States.
func OriginStates() []OriginState { return linkrot.States() }

// Backup is backup.Run.
func Backup(ctx context.Context, o BackupOptions) (BackupReport, error) { return backup.Run(ctx, o) }

// Restore is backup.Restore.
func Restore(ctx context.Context, o BackupOptions) (BackupReport, ReindexReport, error) {
	return backup.Restore(ctx, o)
}

// RestoreUnfinished is backup.RestoreUnfinished.
func RestoreUnfinished(root string) bool { return backup.RestoreUnfinished(root) }

// Reindex is reindex.Run.
func Reindex(ctx context.Context, o ReindexOptions) (ReindexReport, error) {
	return reindex.Run(ctx, o)
}

// StatsAndLinkRot is both.
type StatsAndLinkRot struct {
	query.Stats
	LinkRot *LinkRot `json:"link_rot,omitempty"` // nil: no origin was ever asked
}

// Show is query.Show.
func (s *Store) Show(ctx context.Context, t Target) (query.Details, error) {
	return query.Show(ctx, s.Maintenance(), t.URL, t.Digest)
}

// List is query.List.
func (s *Store) List(ctx context.Context, f query.Filter) iter.Seq2[query.Entry, error] {
	return query.List(ctx, s.Maintenance(), f)
}

// ListFailures is query.Failures.
func (s *Store) ListFailures(ctx context.Context, f query.Filter, classes []fetch.Class) iter.Seq2[query.FailureDetails, error] {
	return query.Failures(ctx, s.Maintenance(), f, classes)
}

// Stats is query.Count.
func (s *Store) Stats(ctx context.Context) (StatsAndLinkRot, error) {
	var all StatsAndLinkRot
	var err error
	if all.Stats, err = query.CountAll(ctx, s.Maintenance()); err != nil {
		return all, err
	}
	all.LinkRot, err = s.LinkRot()
	return all, err
}

// Errors of variants.
var (
	ErrDeadly      = variant.ErrPoison
	ErrSlow        = variant.ErrSlow
	ErrUndecodable = variant.ErrUndecodable
	ErrNotMade     = variant.ErrNotMade
)

// Stripped is variant.Stripped.
const Stripped = variant.Stripped
