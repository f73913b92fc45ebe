// Command image writes an OCI image archive from static binaries, without a container engine.
//
//	image -o fairlead.tar -name fairlead.dev/fairlead:dev -dockerfile Dockerfile
//	image -o web.tar -name fairlead.dev/web:dev -entrypoint /web -user 65532:65532 bin/web=/web
//
// In the first form the files, the user and the entrypoint are those of the Dockerfile's final stage, whose binaries were
// built before; in the second they are given. The archive is for `ctr images import`, `docker load`, `skopeo` and the like, and
// depends on its inputs alone: the same binaries give the same bytes.
//
// It is not a builder: it runs nothing, pulls nothing, and in place of the base image puts the few files a static binary asks
// for (base.go). Of the distroless base it leaves out the CA certificates and the time zones.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	out := flags.String("o", "", "archive to write")
	name := flags.String("name", "", "image name with tag")
	dockerfile := flags.String("dockerfile", "", "take files, user and entrypoint from the final stage of this Dockerfile")
	context := flags.String("context", "", "folder the build stage's work folder stands for (default: the Dockerfile's)")
	user := flags.String("user", "", "uid:gid (without -dockerfile)")
	entrypoint := flags.String("entrypoint", "", "path of the program in the image (without -dockerfile)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" || !strings.Contains(*name, ":") {
		return errors.New("-o FILE and -name NAME:TAG are needed")
	}
	img, err := describe(*dockerfile, *context, *user, *entrypoint, flags.Args())
	if err != nil {
		return err
	}
	img.name = *name
	archive, err := img.archive()
	if err != nil {
		return fmt.Errorf("image %s: %w", *name, err)
	}
	return replace(*out, archive)
}

// describe reads what goes into the image from the one of the two forms that was used.
func describe(dockerfile, context, user, entrypoint string, args []string) (image, error) {
	if dockerfile == "" {
		if entrypoint == "" || len(args) == 0 {
			return image{}, errors.New("-entrypoint and SOURCE=/TARGET are needed, or -dockerfile")
		}
		img := image{user: user, entrypoint: []string{entrypoint}}
		for _, arg := range args {
			source, target, ok := strings.Cut(arg, "=")
			if !ok || !strings.HasPrefix(target, "/") {
				return image{}, fmt.Errorf("file %q: want SOURCE=/TARGET", arg)
			}
			img.files = append(img.files, file{source: source, target: target})
		}
		return img, nil
	}
	if user != "" || entrypoint != "" || len(args) > 0 {
		return image{}, errors.New("-dockerfile already says user, entrypoint and files")
	}
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return image{}, fmt.Errorf("dockerfile: %w", err)
	}
	if context == "" {
		context = filepath.Dir(dockerfile)
	}
	img, err := parseDockerfile(string(text), context)
	if err != nil {
		return image{}, fmt.Errorf("%s:%w", dockerfile, err)
	}
	return img, nil
}

// replace writes the file whole or not at all: an import that runs meanwhile reads the old one.
func replace(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // after the rename there is nothing to remove
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}
