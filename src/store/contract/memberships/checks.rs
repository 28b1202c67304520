//! What is asked of the store after each step, and what the model says to it.

use super::{MAPS, Person, TOPICS, USERS, World, device_of, group_of, topic_of, topics_of, user_of};
use crate::model::condition::Condition;
use crate::model::log::{LogId, Offset};
use crate::model::ranges::Ranges;
use crate::store::contract::{at, check_usage};
use crate::store::{Error, Of};

impl World {
    /// All that can be asked gives what the model says.
    pub(super) async fn check(&mut self) {
        self.learn_numbers().await;
        for who in (0..USERS).flat_map(|user| [(user, 0), (user, 1)]) {
            let follows = self.store().follows(&self.receiver(who)).await;
            let brought = topics_of(&self.people[who.0].topics());
            let Some(device) = self.people[who.0].devices.get(&who.1) else {
                assert_eq!(follows, Err(Error::UnknownDevice));
                continue;
            };
            let follows = follows.unwrap();
            assert_eq!((Some(follows.number), follows.group_topics), (device.number, brought), "{who:?}");
            let inbox = LogId::Inbox(self.owner.clone(), user_of(who.0));
            let mut expected = vec![(inbox, Ranges::default())];
            let logs = [TOPICS].into_iter().chain(0..TOPICS);
            expected.extend(logs.filter_map(|log| Some((self.log(log), device.settled.get(&log)?.clone()))));
            assert!(follows.following.iter().all(|following| following.cursor.epoch == following.head.epoch));
            let told = follows.following.into_iter().map(|following| (following.log, following.cursor.settled));
            assert_eq!(told.collect::<Vec<_>>(), expected, "{who:?}");
        }
        for (user, person) in self.people.iter().enumerate() {
            let told = self.store().user(&self.owner, &user_of(user)).await.unwrap();
            assert_eq!(told.version, person.version);
            assert_eq!(told.groups, person.groups.iter().map(|group| group_of(*group).0).collect::<Vec<_>>());
            let devices: Vec<_> =
                told.devices.iter().map(|device| (device.device.clone(), device.subscriptions as usize)).collect();
            let expected = person.devices.iter().map(|(device, one)| (device_of(*device), one.own.len()));
            assert_eq!(devices, expected.collect::<Vec<_>>());
        }
        for group in 0..MAPS.len() {
            let (name, _) = group_of(group);
            let told = self.store().group(&self.owner, &name).await.unwrap().map(|group| group.members as usize);
            assert_eq!(told, self.groups.contains(&group).then(|| self.members(group).len()));
            if told.is_some() {
                let members = self.store().members(&self.owner, &name, None, 9).await.unwrap();
                assert_eq!(members, self.members(group).into_iter().map(user_of).collect::<Vec<_>>());
            }
        }
        for topic in 0..TOPICS {
            let told = self.store().topic(&self.owner, &topic_of(topic)).await.unwrap();
            let of = |person: &Person| person.receivers().filter(|(_, one)| one.settled.contains_key(&topic)).count();
            assert_eq!(told.devices as usize, self.people.iter().map(of).sum::<usize>());
        }
        let logs = [0, 1, 2, TOPICS].map(|log| self.log(log));
        check_usage(self.store(), &self.owner, &logs, 0).await;
        let page =
            self.store().read(&self.log(TOPICS), Offset::ZERO, usize::MAX, usize::MAX, at(self.now)).await.unwrap();
        let told = page.entries.into_iter().map(|entry| entry.aim.unwrap().audience.clone().unwrap());
        assert_eq!(told.collect::<Vec<_>>(), self.audiences);
    }

    /// Everybody who counts has a number that nobody else ever had, and keeps it; a first device takes its user's.
    async fn learn_numbers(&mut self) {
        let everybody = Of::Condition(Condition::parse("!('nothing' in topics)").unwrap());
        let all = self.store().audience(&self.owner, everybody, None, usize::MAX).await.unwrap();
        let count = |person: &Person| person.receivers().count();
        assert_eq!(all.page.len(), self.people.iter().map(count).sum::<usize>());
        assert_eq!(
            (all.set.len() as usize, all.users as usize),
            (all.page.len(), self.people.iter().filter(|person| count(person) > 0).count(),)
        );
        for (number, name, device) in all.page {
            let user = (0..USERS).find(|user| user_of(*user) == name).unwrap();
            let device = device.map(|device| (0..2).find(|number| device_of(*number) == device).unwrap());
            let person = &mut self.people[user];
            let receives = match device {
                Some(device) => person.devices.get_mut(&device),
                None => person.seat.as_mut(),
            };
            let known = receives.expect("it is known to the model").number.get_or_insert(number);
            assert_eq!(*known, number, "it keeps its number");
            let before = self.numbers.insert(number, (user, device));
            assert!(before.is_none_or(|before| before == (user, device) || before == (user, None)), "{before:?}");
        }
    }
}
