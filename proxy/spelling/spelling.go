// Package spelling finds the word that was meant.
package spelling

import (
	"slices"
	"strings"
)

// DidYouMean returns `, did you mean "x"?` for the known word nearest to a wrong one, or "" where none is near.
func DidYouMean(wrong string, known []string) string {
	if word, ok := nearest(wrong, known); ok {
		return ", did you mean \"" + word + "\"?"
	}
	return ""
}

// nearest returns the known word that the fewest changes of a letter turn wrong into: at most a third of its letters.
func nearest(wrong string, known []string) (string, bool) {
	const longest = 64
	if len(wrong) > longest {
		return "", false
	}
	best, bestAt := "", len(wrong)+1
	sorted := slices.Sorted(slices.Values(known))
	for _, word := range sorted {
		if d := distance(strings.ToLower(wrong), strings.ToLower(word)); d < bestAt && d <= max(1, len(word)/3) {
			best, bestAt = word, d
		}
	}
	return best, best != ""
}

// distance counts the letters to insert, delete, replace or swap with the next (Levenshtein, optimal string alignment).
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{last, row, before}
	}
	return rows[1][len(b)]
}
