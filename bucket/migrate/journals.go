package migrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/record"
)

// Journals that were pushed are objects as well, for what records do not have: what was removed
// in the past, by whom, and why. Nodes neither read nor write them.

// journalKey is the name of the object of a journal's file. No bucket has the name of its folder.
func journalKey(bucket, file string) string {
	if bucket == "" {
		return record.JournalDir + "/" + file
	}
	return bucket + "/j/" + file
}

// continues makes sure that the journals that were pushed before, if there are any, are beginnings
// of those that are here.
func (p *push) continues(ctx context.Context) error {
	for _, bucket := range append([]string{""}, p.Buckets...) {
		folder := journalKey(bucket, "")
		for key, err := range p.Objects.List(ctx, folder) {
			if err != nil {
				return err
			}
			info, err := p.Objects.Stat(ctx, key)
			if err != nil {
				return err
			}
			path := filepath.Join(p.Root, bucket, record.JournalDir, strings.TrimPrefix(key, folder))
			digest, err := hashBeginning(path, info.Bytes)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", ErrOtherStore, key, err)
			}
			if info.Digest != (record.Digest{}) && digest != info.Digest {
				return fmt.Errorf("%w: %s does not begin as the object %s", ErrOtherStore, path, key)
			}
		}
	}
	return nil
}

func hashBeginning(path string, n int64) (d record.Digest, err error) {
	file, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.CopyN(hash, file, n); err != nil {
		return d, err
	}
	return record.Digest(hash.Sum(nil)), nil
}

// pushJournals moves the journals up to where all is moved that they say.
func (p *push) pushJournals(ctx context.Context) error {
	for _, bucket := range append([]string{""}, p.Buckets...) {
		files, err := journal.Files(p.Root, bucket)
		if err != nil {
			return err
		}
		at := p.at.Journals[bucket]
		for _, file := range files {
			base := filepath.Base(file)
			if base > at.File {
				break
			}
			if err := p.pushJournal(ctx, filepath.Join(p.Root, file), journalKey(bucket, base), base == at.File, at.Length); err != nil {
				return in(bucket, fmt.Errorf("move %s: %w", file, err))
			}
		}
	}
	return nil
}

func (p *push) pushJournal(ctx context.Context, path, key string, isLast bool, length int64) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if !isLast {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		length = info.Size()
	}
	if length == 0 {
		return nil
	}
	digest, err := hashBeginning(path, length)
	if err != nil {
		return err
	}
	content := object.Content{From: file, Bytes: length, Digest: digest, Type: "application/x-ndjson"}
	for range 3 {
		err = p.Objects.Create(ctx, key, content)
		if !errors.Is(err, object.ErrExists) && !errors.Is(err, object.ErrUnclear) {
			return err
		}
		info, statErr := p.Objects.Stat(ctx, key)
		switch {
		case errors.Is(statErr, object.ErrAbsent):
			continue
		case statErr != nil:
			return errors.Join(err, statErr)
		case info.Digest == digest && info.Bytes == length:
			return nil
		}
		if err = p.Objects.Replace(ctx, key, content, info.Tag); err == nil || !errors.Is(err, object.ErrChanged) && !errors.Is(err, object.ErrUnclear) {
			return err
		}
	}
	return err
}
