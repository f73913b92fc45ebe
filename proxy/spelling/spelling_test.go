package spelling

import "testing"

func TestDidYouMean(t *testing.T) {
	known := []string{"prefix", "dst", "inet", "dentries"}
	for wrong, want := range map[string]string{
		"prefx": `, did you mean "prefix"?`, "PREFIX": `, did you mean "prefix"?`, "dentreis": `, did you mean "dentries"?`,
		"dts": `, did you mean "dst"?`, "inett": `, did you mean "inet"?`, "something": "", "": "",
	} {
		if got := DidYouMean(wrong, known); got != want {
			t.Errorf("%q: %q, want %q", wrong, got, want)
		}
	}
}
