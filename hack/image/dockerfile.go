package main

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// baseImage is the one base whose content base.go stands in for.
const baseImage = "gcr.io/distroless/static:nonroot"

// numericUser is what the kubelet can check runAsNonRoot against: a name it cannot.
var numericUser = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

// instruction is one logical line of a Dockerfile, its continuations joined.
type instruction struct {
	line int // where it starts, from 1
	verb string
	rest string
}

func (i instruction) errorf(format string, args ...any) error {
	return fmt.Errorf("%d: %s: %s", i.line, i.verb, fmt.Sprintf(format, args...))
}

func instructions(text string) []instruction {
	var all []instruction
	var joined string
	start := 0
	for number, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue // also inside a continuation, as Docker does
		}
		if joined == "" {
			start = number + 1
		}
		if part, more := strings.CutSuffix(trimmed, `\`); more {
			joined += part + " "
			continue
		}
		verb, rest, _ := strings.Cut(joined+trimmed, " ")
		all = append(all, instruction{line: start, verb: strings.ToUpper(verb), rest: strings.TrimSpace(rest)})
		joined = ""
	}
	return all
}

// parseDockerfile reads the final stage. Of the stages before it only the name and the work folder matter: a file copied from
// one of them is looked for at the same place below context. An instruction of the final stage that is not understood is an
// error, never ignored: the image would differ from the one an engine builds.
//
// Errors start with the line number.
func parseDockerfile(text, context string) (image, error) {
	all := instructions(text)
	final := -1
	for i, in := range all {
		if in.verb == "FROM" {
			final = i
		}
	}
	if final < 0 {
		return image{}, fmt.Errorf("1: no FROM")
	}
	if all[final].rest != baseImage {
		return image{}, all[final].errorf("the final stage is %q, and only %s is known here", all[final].rest, baseImage)
	}
	folders := workFolders(all[:final])
	var img image
	for _, in := range all[final+1:] {
		var err error
		switch in.verb {
		case "COPY":
			err = img.addCopy(in, folders, context)
		case "USER":
			img.user = in.rest
			if !numericUser.MatchString(in.rest) {
				err = in.errorf("want UID:GID in numbers, got %q", in.rest)
			}
		case "ENTRYPOINT":
			if json.Unmarshal([]byte(in.rest), &img.entrypoint) != nil || len(img.entrypoint) == 0 {
				err = in.errorf(`want the exec form ["/program"], got %s`, in.rest)
			}
		default:
			err = in.errorf("not understood in the final stage (COPY, USER and ENTRYPOINT are)")
		}
		if err != nil {
			return image{}, err
		}
	}
	if len(img.files) == 0 || img.user == "" || len(img.entrypoint) == 0 {
		return image{}, all[final].errorf("the final stage needs COPY, USER and ENTRYPOINT")
	}
	return img, nil
}

// workFolders returns the last WORKDIR of each named stage.
func workFolders(all []instruction) map[string]string {
	folders := map[string]string{}
	stage := ""
	for _, in := range all {
		switch in.verb {
		case "FROM":
			stage = ""
			if words := strings.Fields(in.rest); len(words) == 3 && strings.EqualFold(words[1], "AS") {
				stage = words[2]
				folders[stage] = "/"
			}
		case "WORKDIR":
			if stage != "" {
				folders[stage] = path.Join(folders[stage], in.rest)
				if path.IsAbs(in.rest) {
					folders[stage] = path.Clean(in.rest)
				}
			}
		}
	}
	return folders
}

// addCopy understands COPY --from=STAGE /SOURCE /TARGET, with one source that lies below the stage's work folder.
func (img *image) addCopy(in instruction, folders map[string]string, context string) error {
	words := strings.Fields(in.rest)
	if len(words) != 3 || !strings.HasPrefix(words[0], "--from=") {
		return in.errorf("want --from=STAGE /SOURCE /TARGET, got %q", in.rest)
	}
	stage, source, target := strings.TrimPrefix(words[0], "--from="), words[1], words[2]
	folder, ok := folders[stage]
	if !ok {
		return in.errorf("no stage is named %q", stage)
	}
	relative, ok := strings.CutPrefix(path.Clean(source), strings.TrimSuffix(folder, "/")+"/")
	if !ok {
		return in.errorf("%s is not below %s, the work folder of %s", source, folder, stage)
	}
	if !path.IsAbs(target) || strings.HasSuffix(target, "/") {
		return in.errorf("want an absolute path of a file as target, got %q", target)
	}
	img.files = append(img.files, file{source: filepath.Join(context, filepath.FromSlash(relative)), target: path.Clean(target)})
	return nil
}
