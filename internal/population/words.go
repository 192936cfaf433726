package population

import "slices"

// words are the raw material of names and groups.
type words struct {
	scripts []script
	emoji   []string
	firms   []string
	// groups holds every set of groups an item may be in: none, one, two.
	groups [3][][]string
}

// script is one way of writing the names of people.
type script struct {
	share       int // of 100
	given       []string
	family      []string
	familyFirst bool
	joint       string // between the two
}

func newWords() words {
	w := words{
		scripts: []script{
			{share: 42, joint: " ",
				given:  []string{"Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kim", "Lena", "Marco", "Nora", "Oscar", "Paula"},
				family: []string{"Abel", "Brown", "Costa", "Dietrich", "Evans", "Fischer", "Garcia", "Hansen", "Ito", "Jensen", "Kovac", "Lopez", "Meyer", "Novak", "Olsen", "Weber"}},
			{share: 18, joint: " ",
				given:  []string{"Zoë", "André", "Søren", "Łukasz", "Şule", "Đorđe", "Ágnes", "Jiří", "Þóra", "Nuño", "Mười", "Ģirts"},
				family: []string{"Müller", "Núñez", "Øster", "Żak", "Çelik", "Škoda", "Győri", "Dvořák", "Ásgeirsdóttir", "Brontë", "Nguyễn", "Bērziņš"}},
			{share: 9, joint: " ",
				given:  []string{"Анна", "Борис", "Вера", "Дмитро", "Елена", "Иван", "Ќирил", "Ольга"},
				family: []string{"Иванова", "Петренко", "Соколов", "Їжак", "Николова", "Ђорђевић", "Кузнецов", "Шевченко"}},
			{share: 5, joint: " ",
				given:  []string{"Άννα", "Γιώργος", "Ελένη", "Νίκος", "Σοφία", "Χρήστος"},
				family: []string{"Παπαδοπούλου", "Ιωάννου", "Αγγελή", "Βλάχος", "Οικονόμου"}},
			{share: 6, joint: " ",
				given:  []string{"أمينة", "حسن", "ليلى", "محمد", "نور", "يوسف"},
				family: []string{"العلي", "حداد", "المصري", "منصور", "الخطيب"}},
			{share: 3, joint: " ",
				given:  []string{"נועה", "דוד", "תמר", "יוסף", "שירה"},
				family: []string{"כהן", "לוי", "מזרחי", "פרץ", "אברהם"}},
			{share: 6, joint: " ",
				given:  []string{"आशा", "राहुल", "प्रिया", "विजय", "सीता", "कृष्ण"},
				family: []string{"शर्मा", "गुप्ता", "पटेल", "सिंह", "जोशी"}},
			{share: 6, familyFirst: true,
				given:  []string{"伟", "秀英", "静", "明轩", "丽", "子涵"},
				family: []string{"王", "李", "張", "刘", "陳", "歐陽"}},
			{share: 3, familyFirst: true, joint: " ",
				given:  []string{"さくら", "健一", "葵", "ケン", "陽子"},
				family: []string{"佐藤", "鈴木", "高橋", "渡辺", "小林"}},
			{share: 2, familyFirst: true,
				given:  []string{"민준", "서연", "지우", "하은"},
				family: []string{"김", "이", "박", "최"}},
		},
		emoji: []string{"🎸", "🚲", "🌻", "🏔️", "☕", "🐈", "🚀", "🍀"},
		firms: []string{"R&D", "Brown & Sons", "Tom's Café", "Q&A <help>", `The "Old" Mill`, "I <3 XMPP", "Night > Day"},
	}
	names := []string{"Work", "Family", "Friends", "R&D", "Sport", "École", "Друзья", "Φίλοι", "عائلة", "חברים", "परिवार", "同事", "Tom's <team>", "Café ☕"}
	w.groups[0] = [][]string{nil}
	for _, a := range names {
		w.groups[1] = append(w.groups[1], []string{a})
		for _, b := range names {
			if a != b {
				w.groups[2] = append(w.groups[2], []string{a, b})
			}
		}
	}
	return w
}

// name invents the name of a contact: one in sixteen is a firm or a nickname
// full of characters that XML must escape, one in twenty carries an emoji.
func (w words) name(d *draws) string {
	if d.next(16) == 0 {
		given := choose(d, w.scripts[0].given)
		switch d.next(4) {
		case 0:
			return given + " O'" + choose(d, w.scripts[0].family)
		case 1:
			return given + ` "` + choose(d, w.scripts[1].given) + `" ` + choose(d, w.scripts[0].family)
		case 2:
			return given + " & " + choose(d, w.scripts[1].given)
		default:
			return choose(d, w.firms)
		}
	}
	share := d.next(100)
	at := slices.IndexFunc(w.scripts, func(s script) bool {
		share -= s.share
		return share < 0
	})
	s := w.scripts[at]
	first, second := choose(d, s.given), choose(d, s.family)
	if s.familyFirst {
		first, second = second, first
	}
	if d.next(20) == 0 {
		return first + s.joint + second + " " + choose(d, w.emoji)
	}
	return first + s.joint + second
}

// groupSet chooses the groups of an item: none for 30 items in 100, two for 20.
func (w words) groupSet(h uint64) []string {
	d := draws(h)
	count := 1
	switch share := d.next(100); {
	case share < 30:
		count = 0
	case share >= 80:
		count = 2
	}
	set := choose(&d, w.groups[count])
	return set[:len(set):len(set)]
}

func choose[T any](d *draws, from []T) T { return from[d.next(len(from))] }
