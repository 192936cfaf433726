package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Head is what a run directory tells without its figures: enough for a list of
// runs, at the cost of a few small files.
type Head struct {
	Manifest Manifest
	Done     Done      // Status is StatusPartial if the directory has none
	Summary  *Document // nil if the run has not ended
}

// OpenHead reads the head of a run directory. Like [Open] it refuses symbolic
// links in the directory and files that are too large, those that hold figures
// among them; unlike it, it says nothing of damage in these. A run that has ended
// without a summary, or with another one than it wrote, is an error.
func OpenHead(dir string) (Head, error) {
	var h Head
	root, err := os.OpenRoot(dir)
	if err != nil {
		return h, fmt.Errorf("results: open run: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	r := &Run{Dir: dir}
	if err := r.readHead(root); err != nil {
		return h, fmt.Errorf("results: open run %s: %w", dir, err)
	}
	h.Manifest, h.Done = r.Manifest, r.Done
	if _, err := bytesOf(root); err != nil {
		return h, fmt.Errorf("results: open run %s: %w", dir, err)
	}
	if r.Partial {
		return h, nil
	}
	h.Summary = new(Document)
	if err := readJSON(root, fileSummary, h.Summary); err != nil {
		return h, fmt.Errorf("results: open run %s: %w", dir, err)
	}
	if r.Done.SHA256[fileSummary] != "" {
		if err := r.Done.verify(root, fileSummary); err != nil {
			return h, fmt.Errorf("results: open run %s: %w: derive it anew with report --rebuild", dir, err)
		}
	}
	return h, nil
}

// Size returns how many bytes [Open] would read of a run directory. A file that Open
// would refuse for its kind or its size is an error.
func Size(dir string) (int64, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("results: size of run: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing was written
	n, err := bytesOf(root)
	if err != nil {
		return 0, fmt.Errorf("results: open run %s: %w", dir, err)
	}
	return n, nil
}

// readHead reads what a run was to do and how it ended.
func (r *Run) readHead(root *os.Root) error {
	if err := readJSON(root, fileManifest, &r.Manifest); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no %s: not a run directory", fileManifest)
		}
		return err
	}
	if err := checkSchema(r.Manifest.Schema, Schema, "a run directory"); err != nil {
		return fmt.Errorf("%s: %w", fileManifest, err)
	}
	if err := r.Manifest.check(); err != nil {
		return fmt.Errorf("%s: %w", fileManifest, err)
	}
	switch err := readJSON(root, fileDone, &r.Done); {
	case errors.Is(err, fs.ErrNotExist):
		r.Done.Status, r.Partial = StatusPartial, true
	case err != nil:
		return err
	}
	return nil
}
